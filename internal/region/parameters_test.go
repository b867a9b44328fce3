package region

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

func TestParameters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFixture(t, Options{Dir: dir})
	ctx := t.Context()
	client := ssm.NewFromConfig(f.config("us-east-1", f.region.Credentials()))
	image, _ := f.register("first")
	put := func(change func(*ssm.PutParameterInput)) error {
		in := &ssm.PutParameterInput{Name: aws.String("/ingot/latest"), Value: &image, Type: ssmtypes.ParameterTypeString, DataType: aws.String(imageType)}
		change(in)
		_, err := client.PutParameter(ctx, in)
		return err
	}
	tags := []ssmtypes.Tag{{Key: aws.String("run"), Value: aws.String("1")}}
	for _, c := range []struct {
		name   string
		change func(*ssm.PutParameterInput)
		want   string
	}{
		{"new", func(in *ssm.PutParameterInput) { in.Tags = tags }, ""},
		{"again", func(*ssm.PutParameterInput) {}, "ParameterAlreadyExists"},
		{"overwrite", func(in *ssm.PutParameterInput) { in.Overwrite = aws.Bool(true) }, ""},
		{"overwrite with tags", func(in *ssm.PutParameterInput) { in.Overwrite, in.Tags = aws.Bool(true), tags }, "ValidationException"},
		{"overwrite with a type", func(in *ssm.PutParameterInput) {
			in.Overwrite, in.Type = aws.Bool(true), ssmtypes.ParameterTypeStringList
		}, "HierarchyTypeMismatchException"},
		{"no image", func(in *ssm.PutParameterInput) { in.Overwrite, in.Value = aws.Bool(true), aws.String("hello") }, "ValidationException"},
		{"an image that is not there", func(in *ssm.PutParameterInput) {
			in.Overwrite, in.Value = aws.Bool(true), aws.String("ami-0123456789abcdef0")
		}, ""},
		{"data type", func(in *ssm.PutParameterInput) {
			in.Name, in.DataType = aws.String("/x"), aws.String("aws:ec2:snapshot")
		}, "ValidationException"},
		{"relative", func(in *ssm.PutParameterInput) { in.Name = aws.String("a/b") }, "ValidationException"},
		{"reserved", func(in *ssm.PutParameterInput) { in.Name = aws.String("/aws/x") }, "ValidationException"},
		{"character", func(in *ssm.PutParameterInput) { in.Name = aws.String("/a b") }, "ValidationException"},
		{"deep", func(in *ssm.PutParameterInput) { in.Name = aws.String(strings.Repeat("/a", 16)) }, "HierarchyLevelLimitExceededException"},
		{"no type", func(in *ssm.PutParameterInput) { in.Name, in.Type = aws.String("/x"), "" }, "ValidationException"},
		{"secure", func(in *ssm.PutParameterInput) {
			in.Name, in.Type = aws.String("/x"), ssmtypes.ParameterTypeSecureString
		}, "UnsupportedParameterType"},
		{"long", func(in *ssm.PutParameterInput) {
			in.Name, in.DataType, in.Value = aws.String("/x"), nil, aws.String(strings.Repeat("v", 4097))
		}, "ValidationException"},
		{"pattern", func(in *ssm.PutParameterInput) {
			in.Name, in.DataType, in.AllowedPattern = aws.String("/x"), nil, aws.String("[0-9]+")
		}, "ParameterPatternMismatchException"},
		{"policies", func(in *ssm.PutParameterInput) { in.Name, in.Policies = aws.String("/x"), aws.String("[]") }, "SerializationException"},
		{"second", func(in *ssm.PutParameterInput) {
			in.Name, in.DataType, in.Value = aws.String("/ingot/a/b"), nil, aws.String("text")
		}, ""},
	} {
		if err := put(c.change); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	got, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/ingot/latest")})
	if err != nil {
		t.Fatal(err)
	}
	if p := got.Parameter; *p.Value != image || p.Version != 2 || *p.DataType != imageType {
		t.Errorf("the parameter is %+v", p)
	}
	some, err := client.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{*got.Parameter.ARN, "/nothing"}})
	if err != nil || len(some.Parameters) != 1 || len(some.InvalidParameters) != 1 {
		t.Errorf("two names give %+v, %v", some, err)
	}
	if _, err := client.GetParameters(ctx, &ssm.GetParametersInput{Names: strings.Fields(strings.Repeat("/n ", 11))}); code(err) != "ValidationException" {
		t.Errorf("eleven names: %v", err)
	}
	for _, c := range []struct {
		recursive bool
		want      int
	}{{false, 1}, {true, 2}} {
		out, err := client.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/ingot"), Recursive: &c.recursive})
		if err != nil || len(out.Parameters) != c.want {
			t.Errorf("by path, %v: %+v, %v", c.recursive, out, err)
		}
	}
	pages := ssm.NewDescribeParametersPaginator(client, &ssm.DescribeParametersInput{MaxResults: aws.Int32(1),
		ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("Name"), Option: aws.String("BeginsWith"), Values: []string{"/ingot"}}}})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Parameters)
	}
	if n != 2 {
		t.Errorf("%d parameters are described", n)
	}
	_, err = client.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("Colour"), Values: []string{"x"}}}})
	if code(err) != "InvalidFilterKey" {
		t.Errorf("an unknown filter: %v", err)
	}
	parameterType := ssmtypes.ResourceTypeForTaggingParameter
	if _, err := client.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: parameterType, ResourceId: aws.String("/ingot/a/b"), Tags: tags}); err != nil {
		t.Error(err)
	}
	if _, err := client.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: parameterType, ResourceId: aws.String("/ingot/a/b"), TagKeys: []string{"run"}}); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]int{"/ingot/latest": 1, "/ingot/a/b": 0} {
		out, err := client.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: parameterType, ResourceId: &name})
		if err != nil || len(out.TagList) != want {
			t.Errorf("%s has the tags %+v, %v", name, out, err)
		}
	}
	gone, err := client.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{"/ingot/a/b", "/nothing"}})
	if err != nil || len(gone.DeletedParameters) != 1 || len(gone.InvalidParameters) != 1 {
		t.Errorf("deleting gives %+v, %v", gone, err)
	}
	if _, err := client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/nothing")}); code(err) != "ParameterNotFound" {
		t.Errorf("deleting nothing: %v", err)
	}
}
