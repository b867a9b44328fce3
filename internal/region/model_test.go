package region

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// model is a service model of botocore: the third party that knows every name on the wire.
type model struct {
	Operations map[string]struct {
		Input, Output *struct {
			Shape         string
			ResultWrapper string
		}
	}
	Shapes map[string]*shape
}

type shape struct {
	Type      string
	Members   map[string]*member
	Member    *member // of a list
	Value     *member // of a map
	Enum      []string
	Required  []string
	Payload   string // the member that is the whole body
	Flattened bool
}

type member struct {
	Shape, Location, LocationName, QueryName string
}

// wire is what a member is called on the wire.
func (m *member) wire(name string) string {
	if m.LocationName != "" {
		return m.LocationName
	}
	return name
}

// newer are the names that are younger than the model of Debian 12.
var newer = []string{
	"RegisterImage TagSpecification.1.ResourceType", "RegisterImage TagSpecification.1.Tag.1.Key", "RegisterImage TagSpecification.1.Tag.1.Value",
	"DeregisterImage DeleteAssociatedSnapshots", "DeregisterImageResponse/return", "DeregisterImageResponse/deleteSnapshotResultSet",
	"DeleteKeyPairResponse/keyPairId", "DescribeImages MaxResults", "DescribeImages NextToken", "DescribeImagesResponse/nextToken", "instancesSet/item/currentInstanceBootMode", "bootMode=uefi-preferred",
	"QuotaAppliedAtLevel", "DescribeImages IncludeDisabled", "imageState=disabled", "imagesSet/item/deregistrationProtection", "imagesSet/item/lastLaunchedTime",
	"imagesSet/item/sourceImageId", "imagesSet/item/sourceImageRegion", "ModifyImageAttribute ImdsSupport.Value", "CopyImage CopyImageTags", "DescribeParameters ARN",
}

// newerActions are the actions that are.
var newerActions = []string{
	"DisableImage", "DisableImageBlockPublicAccess", "DisableImageDeregistrationProtection", "DisableSnapshotBlockPublicAccess", "EnableImage",
	"EnableImageBlockPublicAccess", "EnableImageDeregistrationProtection", "EnableSnapshotBlockPublicAccess", "GetImageBlockPublicAccessState",
	"GetSnapshotBlockPublicAccessState", "CreateImageUsageReport", "DeleteImageUsageReport", "DescribeImageReferences",
	"DescribeImageUsageReportEntries", "DescribeImageUsageReports",
}

// modelDirs are the folders of the models, by the name of the service in the scope of a signature.
var modelDirs = map[string]string{"ec2": "ec2/2016-11-15", "ebs": "ebs/2019-11-02", "s3": "s3/2006-03-01", "sts": "sts/2011-06-15", "ssm": "ssm/2014-11-06",
	"servicequotas": "service-quotas/2019-06-24"}

// models are those that are installed, by the same names.
var models = sync.OnceValue(func() map[string]*model {
	all := map[string]*model{}
	for service, folder := range modelDirs {
		for _, dir := range []string{"awscli/botocore", "botocore"} {
			data, err := os.ReadFile(filepath.Join("/usr/lib/python3/dist-packages", dir, "data", folder, "service-2.json"))
			if err != nil {
				continue
			}
			m := &model{}
			if json.Unmarshal(data, m) == nil {
				all[service] = m
				break
			}
		}
	}
	return all
})

func loadModel() *model { return models()["ec2"] }

func TestModel(t *testing.T) {
	if loadModel() == nil {
		t.Skip("no service models: botocore is not installed")
	}
	for name := range actions {
		if _, ok := loadModel().Operations[name]; ok == slices.Contains(newerActions, name) {
			t.Errorf("%s: an action of EC2: %v", name, ok)
		}
	}
}

var scope = regexp.MustCompile(`Credential=[^/]+/[0-9]+/[^/]+/([a-z0-9]+)/`)

// checkModel passes requests on, and checks every exchange that succeeds against the model of its service.
func checkModel(t *testing.T, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service := scope.FindStringSubmatch(r.Header.Get("Authorization"))
		if service == nil || models()[service[1]] == nil {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		if rec.Code < 300 {
			e := exchange{t: t, model: models()[service[1]], sent: body, got: rec.Body.Bytes()}
			e.check(service[1], r)
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

// exchange is a request that succeeded, and its reply.
type exchange struct {
	t         *testing.T
	model     *model
	action    string
	sent, got []byte
}

func (e *exchange) check(service string, r *http.Request) {
	switch service {
	case "ec2", "sts":
		form, _ := url.ParseQuery(string(e.sent) + "&" + r.URL.RawQuery)
		if e.action = form.Get("Action"); slices.Contains(newerActions, e.action) {
			return
		}
		if e.model.Operations[e.action].Input == nil {
			e.t.Errorf("%s has no action %s", service, e.action)
			return
		}
		e.checkForm(form)
		e.checkReply(service)
	case "ssm", "servicequotas":
		_, e.action, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		e.checkJSON()
	case "ebs":
		for name, o := range operations {
			if _, ok := o.match(r.Method, r.URL.Path); ok {
				e.action = name
			}
		}
		if e.action != "PutSnapshotBlock" && e.action != "GetSnapshotBlock" { // whose bodies are blocks
			e.checkJSON()
		}
	case "s3":
		s3r := &s3Request{request: &request{Request: r}, query: r.URL.Query()}
		s3r.bucket, s3r.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		e.action, _, _ = s3r.operation()
		e.checkS3()
	}
}

// shapes returns the shapes of the action's input and output, which may be nil.
func (e *exchange) shapes() (in, out *shape) {
	o := e.model.Operations[e.action]
	if o.Input != nil {
		in = e.model.Shapes[o.Input.Shape]
	}
	if o.Output != nil {
		out = e.model.Shapes[o.Output.Shape]
	}
	return in, out
}

// checkForm checks a request of the query protocols.
func (e *exchange) checkForm(form url.Values) {
	input, _ := e.shapes()
	missing := map[string]bool{}
	for _, name := range input.Required {
		missing[queryName(name, input.Members[name])] = true
	}
	for name, values := range form {
		top, _, _ := strings.Cut(name, ".")
		delete(missing, top)
		if name == "Action" || name == "Version" || slices.Contains(newer, e.action+" "+name) {
			continue
		}
		s := input
		for step := range strings.SplitSeq(name, ".") {
			if _, err := strconv.Atoi(step); err == nil && s.Type == "list" {
				s = e.model.Shapes[s.Member.Shape]
				continue
			}
			if s = e.queryMember(s, step); s == nil {
				e.t.Errorf("%s: the model has no parameter %s", e.action, name)
				break
			}
		}
		if s != nil {
			e.checkText(s, name, values[0])
		}
	}
	for name := range missing {
		e.t.Errorf("%s succeeded without %s, which the model requires", e.action, name)
	}
}

// queryName is what EC2's query protocol calls a member.
func queryName(key string, m *member) string {
	switch l := m.LocationName; {
	case m.QueryName != "":
		return m.QueryName
	case l != "":
		return strings.ToUpper(l[:1]) + l[1:]
	}
	return key
}

func (e *exchange) queryMember(s *shape, name string) *shape {
	for key, mem := range s.Members {
		if queryName(key, mem) == name {
			return e.model.Shapes[mem.Shape]
		}
	}
	return nil
}

// checkText checks a scalar in a form or in XML.
func (e *exchange) checkText(s *shape, path, text string) {
	var err error
	switch s.Type {
	case "boolean":
		_, err = strconv.ParseBool(text)
	case "integer", "long":
		_, err = strconv.ParseInt(text, 10, 64)
	case "double", "float":
		_, err = strconv.ParseFloat(text, 64)
	case "timestamp":
		_, err = time.Parse(time.RFC3339, text)
	case "blob":
		_, err = base64.StdEncoding.DecodeString(text)
	case "structure", "list", "map":
		err = errors.New("it has text")
	}
	if err != nil {
		e.t.Errorf("%s: %s is a %s: %v", e.action, path, s.Type, err)
	}
	if last := path[strings.LastIndex(path, "/")+1:]; len(s.Enum) > 0 && !slices.Contains(s.Enum, text) && !slices.Contains(newer, last+"="+text) && path != last {
		e.t.Errorf("%s: %s cannot be %q", e.action, path, text)
	}
}

// checkReply checks a reply of the query protocols.
func (e *exchange) checkReply(service string) {
	_, output := e.shapes()
	root, namespace := e.action+"Response", ec2Namespace
	envelope := map[string]*shape{"requestId": {Type: "string"}, "return": {Type: "boolean"}}
	if service == "sts" {
		namespace = stsNamespace
		envelope = map[string]*shape{e.model.Operations[e.action].Output.ResultWrapper: output,
			"ResponseMetadata": {Type: "structure", Members: map[string]*member{"RequestId": {Shape: "String"}}}}
		if e.model.Shapes["String"] == nil {
			e.model.Shapes["String"] = &shape{Type: "string"}
		}
		output = nil
	}
	e.checkXML(e.got, output, envelope, func(name xml.Name) {
		if name.Local != root || name.Space != namespace {
			e.t.Errorf("%s: the response is a %s of %s", e.action, name.Local, name.Space)
		}
	})
}

// checkS3 checks what of an exchange with S3 is XML.
func (e *exchange) checkS3() {
	input, output := e.shapes()
	payload := func(s *shape) *shape {
		if s != nil && s.Payload != "" {
			return e.model.Shapes[s.Members[s.Payload].Shape]
		}
		return s
	}
	any := func(xml.Name) {}
	if in := payload(input); in != nil && in.Type == "structure" && bytes.HasPrefix(bytes.TrimSpace(e.sent), []byte("<")) {
		e.checkXML(e.sent, in, nil, any)
	}
	if out := payload(output); out != nil && out.Type == "structure" && len(e.got) > 0 && e.action != "GetBucketLocation" { // whose root is its text
		e.checkXML(e.got, out, nil, any)
	}
}

// checkXML walks through XML and its shape. envelope are elements below the root that are in no shape.
func (e *exchange) checkXML(body []byte, top *shape, envelope map[string]*shape, root func(xml.Name)) {
	type element struct {
		path  string
		shape *shape // nil: it is not in the model
		text  string
		leaf  bool
	}
	stack := []*element{}
	dec := xml.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			e.t.Errorf("%s: %v", e.action, err)
			return
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			name := tok.Name.Local
			if len(stack) == 0 {
				root(tok.Name)
				stack = append(stack, &element{path: name, shape: top})
				continue
			}
			parent := stack[len(stack)-1]
			parent.leaf = false
			next := &element{path: parent.path + "/" + name, shape: e.xmlMember(parent.shape, name), leaf: true}
			if next.shape == nil && len(stack) == 1 {
				next.shape = envelope[name]
			}
			if next.shape == nil && !slices.ContainsFunc(newer, func(n string) bool { return strings.Contains(next.path, n) }) {
				e.t.Errorf("%s: the model has no element %s", e.action, next.path)
			}
			stack = append(stack, next)
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text += string(tok)
			}
		case xml.EndElement:
			last := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			scalar := last.shape != nil && !slices.Contains([]string{"structure", "list", "map"}, last.shape.Type)
			if last.shape != nil && (scalar || strings.TrimSpace(last.text) != "") && (last.text != "" || last.shape.Type != "string") {
				e.checkText(last.shape, last.path, last.text)
			}
		}
	}
}

// xmlMember returns the shape of an element below one of a shape: a list is an element with items, unless it is flattened.
func (e *exchange) xmlMember(s *shape, name string) *shape {
	switch {
	case s == nil:
		return nil
	case s.Type == "list" && name == s.Member.wire("member"):
		return e.model.Shapes[s.Member.Shape]
	}
	for key, mem := range s.Members {
		inner := e.model.Shapes[mem.Shape]
		wire := mem.wire(key)
		if inner.Type == "list" && inner.Flattened {
			if wire = inner.Member.wire(wire); wire == name {
				return e.model.Shapes[inner.Member.Shape]
			}
		}
		if wire == name && mem.Location == "" {
			return inner
		}
	}
	return nil
}

// checkJSON checks an exchange whose bodies are JSON.
func (e *exchange) checkJSON() {
	in, out := e.shapes()
	for _, c := range []struct {
		what  string
		shape *shape
		body  []byte
	}{{"request", in, e.sent}, {"reply", out, e.got}} {
		if len(bytes.TrimSpace(c.body)) == 0 || c.shape == nil {
			continue
		}
		var v any
		if err := json.Unmarshal(c.body, &v); err != nil {
			e.t.Errorf("%s: the %s is no JSON: %v", e.action, c.what, err)
			continue
		}
		e.checkValue(c.shape, c.what, v)
	}
}

func (e *exchange) checkValue(s *shape, path string, v any) {
	ok := true
	switch s.Type {
	case "structure":
		var object map[string]any
		if object, ok = v.(map[string]any); ok {
			e.checkObject(s, path, object)
		}
	case "list":
		var all []any
		if all, ok = v.([]any); ok {
			for _, o := range all {
				e.checkValue(e.model.Shapes[s.Member.Shape], path+"[]", o)
			}
		}
	case "string", "blob":
		var text string
		if text, ok = v.(string); ok && len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
			e.t.Errorf("%s: %s cannot be %q", e.action, path, text)
		}
	case "boolean":
		_, ok = v.(bool)
	case "integer", "long", "double", "float", "timestamp":
		_, ok = v.(float64)
	}
	if !ok {
		e.t.Errorf("%s: %s is %v, and should be a %s", e.action, path, v, s.Type)
	}
}

func (e *exchange) checkObject(s *shape, path string, object map[string]any) {
	for _, name := range s.Required {
		if m := s.Members[name]; m.Location == "" && object[m.wire(name)] == nil {
			e.t.Errorf("%s: %s has no %s", e.action, path, name)
		}
	}
	for name, v := range object {
		found := false
		for key, m := range s.Members {
			if m.Location == "" && m.wire(key) == name {
				found = true
				e.checkValue(e.model.Shapes[m.Shape], path+"."+name, v)
			}
		}
		if !found && !slices.Contains(newer, e.action+" "+name) && !slices.Contains(newer, name) {
			e.t.Errorf("%s: the model has no %s.%s", e.action, path, name)
		}
	}
}

// storedBlocks counts the block files of a region.
func storedBlocks(t *testing.T, r *Region) (n int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.opt.Dir, "blocks", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(paths)
}
