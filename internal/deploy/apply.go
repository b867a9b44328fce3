package deploy

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ingot/internal/deploy/builder"
	"ingot/internal/deploy/station"
	"ingot/internal/fault"
	"ingot/internal/publish/retry"
)

// Account is where a deployment is.
type Account struct {
	Config aws.Config // of the region, with retries off
	Logf   func(format string, args ...any)
	Pause  time.Duration // between looks at the stack; 0: 5 s
}

// stackLimit bounds how long a stack may take to change.
const stackLimit = 45 * time.Minute

// pause waits between two looks at the stack.
func (a *Account) pause(ctx context.Context) error {
	return retry.Sleep(ctx, cmp.Or(a.Pause, 5*time.Second))
}

func (a *Account) api() *cloudformation.Client { return cloudformation.NewFromConfig(a.Config) }

func (a *Account) store() *s3.Client {
	return s3.NewFromConfig(a.Config, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })
}

// Apply makes a deployment, or makes one that is there what the options say. program is this program's file. Run again after a
// failure, it does what is left. It returns the stack's outputs.
func (a *Account) Apply(ctx context.Context, o Options, program string, parameters map[string]string) (map[string]string, error) {
	base, err := Base(o)
	if err != nil {
		return nil, err
	}
	whole, err := Template(o)
	if err != nil {
		return nil, err
	}
	stack, err := a.stack(ctx, o.Stack)
	if err != nil {
		return nil, err
	}
	if stack == nil {
		a.Logf("making the bucket and the table")
		if err := a.create(ctx, o, base); err != nil {
			return nil, err
		}
		if stack, err = a.settled(ctx, o.Stack); err != nil {
			return nil, err
		}
	}
	bucket := outputs(stack)["Bucket"]
	if bucket == "" {
		return nil, fault.New(fault.Exists, fmt.Errorf("the stack %s is %s, and has no bucket", o.Stack, stack.StackStatus), "is it one of ingot's? `ingot deploy --delete` takes away what is left of a deployment")
	}
	if err := a.fill(ctx, o, bucket, program); err != nil {
		return nil, err
	}
	if err := a.put(ctx, bucket, "template.json", bytes.NewReader(whole)); err != nil {
		return nil, err
	}
	a.Logf("making the rest")
	if err := a.update(ctx, o.Stack, bucket, parameters); err != nil {
		return nil, err
	}
	if stack, err = a.settled(ctx, o.Stack); err != nil {
		return nil, err
	}
	return outputs(stack), nil
}

func outputs(s *types.Stack) map[string]string {
	all := map[string]string{}
	for _, o := range s.Outputs {
		all[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return all
}

// stack returns the stack of a name, nil if there is none.
func (a *Account) stack(ctx context.Context, name string) (*types.Stack, error) {
	var out *cloudformation.DescribeStacksOutput
	err := retry.Call(ctx, "cloudformation:DescribeStacks", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = a.api().DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
		return err
	})
	if retry.Code(err) == "ValidationError" && strings.Contains(err.Error(), "does not exist") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at the stack %s: %w", name, err)
	}
	return &out.Stacks[0], nil
}

func (a *Account) create(ctx context.Context, o Options, base []byte) error {
	tags := []types.Tag{{Key: aws.String(builder.StackTag), Value: &o.Stack}}
	err := retry.Call(ctx, "cloudformation:CreateStack", retry.Policy{}, func(ctx context.Context) error {
		_, err := a.api().CreateStack(ctx, &cloudformation.CreateStackInput{StackName: &o.Stack, TemplateBody: aws.String(string(base)), Tags: tags, Capabilities: []types.Capability{types.CapabilityCapabilityIam}})
		return err
	})
	if err != nil {
		return fmt.Errorf("making the stack %s: %w", o.Stack, err)
	}
	return nil
}

func (a *Account) update(ctx context.Context, name, bucket string, parameters map[string]string) error {
	link := "https://" + bucket + ".s3." + a.Config.Region + ".amazonaws.com/template.json"
	if strings.HasPrefix(a.Config.Region, "cn-") {
		link = strings.Replace(link, ".amazonaws.com/", ".amazonaws.com.cn/", 1)
	}
	var own []types.Parameter
	for k, v := range parameters {
		own = append(own, types.Parameter{ParameterKey: aws.String(k), ParameterValue: aws.String(v)})
	}
	err := retry.Call(ctx, "cloudformation:UpdateStack", retry.Policy{}, func(ctx context.Context) error {
		_, err := a.api().UpdateStack(ctx, &cloudformation.UpdateStackInput{StackName: &name, TemplateURL: &link, Parameters: own, Capabilities: []types.Capability{types.CapabilityCapabilityIam}})
		return err
	})
	if err != nil && !strings.Contains(err.Error(), "No updates are to be performed") {
		return fmt.Errorf("changing the stack %s: %w", name, err)
	}
	return nil
}

// settled waits until nothing changes in a stack any more, and refuses one that is not as it should be.
func (a *Account) settled(ctx context.Context, name string) (*types.Stack, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stackLimit, fault.Newf(fault.Unreachable, "the stack %s took longer than %v to change", name, stackLimit))
	defer cancel()
	for {
		s, err := a.stack(ctx, name)
		if err != nil || s == nil {
			return s, err
		}
		switch status := string(s.StackStatus); {
		case strings.HasSuffix(status, "_IN_PROGRESS"):
		case status == "CREATE_COMPLETE" || status == "UPDATE_COMPLETE":
			return s, nil
		default:
			why := a.reason(ctx, name)
			return nil, fault.New(fault.Input, fmt.Errorf("the stack %s is %s: %s", name, status, why), "mend that and run the same command again; a stack that is ROLLBACK_COMPLETE has to be taken away first, by `ingot deploy --delete`")
		}
		if err := a.pause(ctx); err != nil {
			return nil, err
		}
	}
}

// reason finds the first failure of the last change of a stack, as far as one page of events has it.
func (a *Account) reason(ctx context.Context, name string) string {
	out, err := a.api().DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: &name})
	if err != nil {
		return "its events cannot be read: " + err.Error()
	}
	why := "its events say nothing"
	for _, e := range out.StackEvents { // the newest first
		if strings.HasSuffix(string(e.ResourceStatus), "_FAILED") && !strings.Contains(aws.ToString(e.ResourceStatusReason), "cancelled") {
			why = fmt.Sprintf("%s: %s", aws.ToString(e.LogicalResourceId), aws.ToString(e.ResourceStatusReason))
		}
	}
	return why
}

// fill puts the program and the recipes into the bucket.
func (a *Account) fill(ctx context.Context, o Options, bucket, program string) error {
	for _, r := range o.Recipes {
		archive, _, err := station.Recipes(r)
		if err != nil {
			return err
		}
		if err := a.put(ctx, bucket, station.RecipeKey(r.Name), bytes.NewReader(archive)); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("reading this program: %w", err)
	}
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	header.SetMode(0o755)
	f, err := w.CreateHeader(header)
	if err == nil {
		_, err = f.Write(text)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("packing this program: %w", err)
	}
	a.Logf("uploading this program")
	if err := a.put(ctx, bucket, o.zipKey(), bytes.NewReader(packed.Bytes())); err != nil {
		return err
	}
	return a.put(ctx, bucket, o.programKey(), bytes.NewReader(text))
}

// uploadLimit bounds one upload of the program.
const uploadLimit = 10 * time.Minute

func (a *Account) put(ctx context.Context, bucket, key string, body io.ReadSeeker) error {
	err := retry.Call(ctx, "s3:PutObject", retry.Policy{Limit: uploadLimit}, func(ctx context.Context) error {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return retry.Permanent(err)
		}
		_, err := a.store().PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body})
		return err
	})
	if err != nil {
		return fmt.Errorf("writing s3://%s/%s: %w", bucket, key, err)
	}
	return nil
}

// Delete takes a deployment away: its machines, all that is in its bucket, and the stack with the catalogue. What was published
// stays. One that is not there is no error.
func (a *Account) Delete(ctx context.Context, name string) error {
	s, err := a.stack(ctx, name)
	if err != nil || s == nil {
		return err
	}
	b := builder.New(a.Config, builder.Spec{Stack: name})
	ids, err := b.All(ctx)
	if err != nil {
		return err
	}
	a.Logf("%d machines ended", len(ids))
	if bucket := outputs(s)["Bucket"]; bucket != "" {
		n, err := a.empty(ctx, bucket)
		if err != nil {
			return err
		}
		a.Logf("%d objects removed", n)
	}
	err = retry.Call(ctx, "cloudformation:DeleteStack", retry.Policy{}, func(ctx context.Context) error {
		_, err := a.api().DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &name})
		return err
	})
	if err != nil {
		return fmt.Errorf("taking the stack %s away: %w", name, err)
	}
	id := aws.ToString(s.StackId) // by it, a stack that is gone can still be seen
	ctx, cancel := context.WithTimeoutCause(ctx, stackLimit, fault.Newf(fault.Unreachable, "the stack %s took longer than %v to go", name, stackLimit))
	defer cancel()
	for {
		s, err := a.stack(ctx, id)
		switch {
		case err != nil:
			return err
		case s == nil || s.StackStatus == types.StackStatusDeleteComplete:
			return nil
		case s.StackStatus == types.StackStatusDeleteFailed:
			return fault.New(fault.Input, fmt.Errorf("the stack %s cannot be taken away: %s", name, a.reason(ctx, id)), "run the same command again")
		}
		if err := a.pause(ctx); err != nil {
			return err
		}
	}
}

// empty removes every object of a bucket, which keeps no versions. One that is not there is empty.
func (a *Account) empty(ctx context.Context, bucket string) (n int, err error) {
	for {
		var out *s3.ListObjectsV2Output
		err := retry.Call(ctx, "s3:ListBucket", retry.Policy{}, func(ctx context.Context) (err error) {
			out, err = a.store().ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket})
			return err
		})
		if fault.KindOf(err) == fault.Missing {
			return n, nil
		}
		if err != nil || len(out.Contents) == 0 {
			return n, err
		}
		var ids []s3types.ObjectIdentifier
		for _, o := range out.Contents {
			ids = append(ids, s3types.ObjectIdentifier{Key: o.Key})
		}
		var failed []s3types.Error
		err = retry.Call(ctx, "s3:DeleteObject", retry.Policy{}, func(ctx context.Context) error {
			out, err := a.store().DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &s3types.Delete{Objects: ids, Quiet: aws.Bool(true)}})
			if err == nil {
				failed = slices.Clone(out.Errors)
			}
			return err
		})
		if err == nil && len(failed) > 0 {
			err = fault.Newf(fault.Denied, "s3:DeleteObject: %s: %s", aws.ToString(failed[0].Key), aws.ToString(failed[0].Message))
		}
		if err != nil {
			return n, fmt.Errorf("emptying the bucket %s: %w", bucket, err)
		}
		n += len(ids)
	}
}
