package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ingot/internal/deploy/depot"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/region"
)

// stacks stands in for CloudFormation: it makes and removes the bucket, and remembers what it was told.
type stacks struct {
	*testing.T
	store  *s3.Client
	mu     sync.Mutex
	status string // "" for no stack
	calls  []string
	link   string
	looks  int
	fail   string
}

const bucket = "ingot-deployment"

func (s *stacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		s.Error(err)
	}
	refuse := func(message string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>%s</Message></Error></ErrorResponse>`, message)
	}
	action := r.Form.Get("Action")
	if !slices.Contains(s.calls, action) {
		s.calls = append(s.calls, action)
	}
	body := ""
	switch action {
	case "DescribeStacks":
		if s.status == "" {
			refuse("Stack with id x does not exist")
			return
		}
		shown := s.status
		if s.looks++; s.looks%2 == 1 && shown != "CREATE_COMPLETE" { // each change takes a while
			shown = "UPDATE_IN_PROGRESS"
		}
		if s.status == "DELETE_COMPLETE" {
			s.status = ""
		}
		body = `<Stacks><member><StackName>x</StackName><StackId>id</StackId><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>` + shown + `</StackStatus><Outputs><member><OutputKey>Bucket</OutputKey><OutputValue>` + bucket + `</OutputValue></member></Outputs></member></Stacks>`
	case "CreateStack":
		if !json.Valid([]byte(r.Form.Get("TemplateBody"))) || r.Form.Get("Tags.member.1.Key") != "ingot:deployment" {
			s.Errorf("the stack is made of %q", r.Form)
		}
		if _, err := s.store.CreateBucket(r.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
			s.Error(err)
		}
		s.status = "CREATE_COMPLETE"
	case "UpdateStack":
		s.link = r.Form.Get("TemplateURL")
		s.status = "UPDATE_COMPLETE"
		if s.fail != "" {
			s.status = s.fail
		}
	case "DescribeStackEvents":
		body = `<StackEvents><member><StackId>id</StackId><EventId>1</EventId><StackName>x</StackName><Timestamp>2026-01-01T00:00:00Z</Timestamp><LogicalResourceId>StepsRole</LogicalResourceId><ResourceStatus>CREATE_FAILED</ResourceStatus><ResourceStatusReason>iam:CreateRole is denied</ResourceStatusReason></member></StackEvents>`
	case "DeleteStack":
		if _, err := s.store.DeleteBucket(r.Context(), &s3.DeleteBucketInput{Bucket: aws.String(bucket)}); err != nil {
			s.Errorf("the bucket is not empty: %v", err)
		}
		s.status = "DELETE_COMPLETE"
	default:
		s.Errorf("CloudFormation was asked for %s", action)
	}
	fmt.Fprintf(w, `<%[1]sResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, body)
}

func TestApply(t *testing.T) {
	t.Parallel()
	r, err := region.Open(t.Context(), region.Options{Dir: t.TempDir(), Regions: []string{"us-east-1"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &stacks{T: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		if strings.Contains(hr.Header.Get("Authorization"), "/cloudformation/") {
			s.ServeHTTP(w, hr)
			return
		}
		r.ServeHTTP(w, hr)
	}))
	t.Cleanup(func() {
		server.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	k := r.Credentials()
	cfg := publish.New(aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")}).Config("us-east-1")
	a := &Account{Config: cfg, Logf: t.Logf, Pause: time.Millisecond}
	s.store = a.store()
	program := filepath.Join(t.TempDir(), "ingot")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	for range 2 { // the second time changes what is there
		outputs, err := a.Apply(t.Context(), o, program, map[string]string{"Notify": "x"})
		if err != nil || outputs["Bucket"] != bucket {
			t.Fatal(outputs, err)
		}
	}
	if s.link != "https://"+bucket+".s3.us-east-1.amazonaws.com/template.json" {
		t.Error(s.link)
	}
	d := depot.New(cfg, bucket)
	keys, err := d.List(t.Context(), "")
	want := []string{"code/0123456789ab.zip", "code/0123456789ab/ingot", "recipes/arch-std.zip", "recipes/debian-12.zip", "template.json"}
	if err != nil || !slices.Equal(keys, want) {
		t.Errorf("%v, %v", keys, err)
	}
	packed, err := d.Get(t.Context(), want[0])
	if err == nil {
		err = depot.Unpack(packed, t.TempDir())
	}
	if err != nil {
		t.Error(err)
	}
	s.fail = "UPDATE_ROLLBACK_COMPLETE"
	if _, err := a.Apply(t.Context(), o, program, nil); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "StepsRole: iam:CreateRole is denied") {
		t.Errorf("a stack that failed: %v", err)
	}
	for range 2 { // the second time there is nothing
		if err := a.Delete(t.Context(), "images"); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"DescribeStacks", "CreateStack", "UpdateStack", "DescribeStackEvents", "DeleteStack"}; !slices.Equal(s.calls, want) {
		t.Errorf("called: %v", s.calls)
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Recipes[1].Schedule.Cron = ""
	all, err := Estimate(o, time.Date(2026, 5, 20, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, c := range all {
		name, _, _ := strings.Cut(c.What, ":")
		sums[name] += c.Dollars
	}
	if !strings.Contains(all[0].What, "2 runs") || sums["debian-12"] <= sums["arch-std"] || sums["arch-std"] != 2*rates.alarm {
		t.Errorf("%+v", all)
	}
}
