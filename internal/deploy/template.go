// Package deploy puts the factory into an account of AWS: it writes one template of CloudFormation, has it applied, and taken away.
package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"ingot/internal/deploy/builder"
	"ingot/internal/factory"
	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// Options are what a deployment is.
type Options struct {
	Stack   string // name of the stack
	Recipes []*recipe.Recipe
	Inputs  []factory.Input // what the runs of each are told; the recipe's path is that in its archive
	Arch    string          // of the functions: x86_64 or arm64, as this program is
	Digest  string          // of this program: names its files in the bucket
	Machine Machine
}

// Machine is what images are built on.
type Machine struct {
	Image  string   // AMI, or the name of a public parameter of SSM that has it
	Types  []string // instance types, the first to be tried first
	Disk   int      // GiB
	Root   string   // device of the root volume
	Spot   bool
	Subnet string // "": one of the default VPC
	VPC    string // "": the default one
}

// DefaultMachine builds on Debian 12.
func DefaultMachine() Machine {
	return Machine{Image: "/aws/service/debian/release/12/latest/amd64", Types: []string{"c7i.xlarge", "c6i.xlarge", "m7i.xlarge"}, Disk: 40, Root: "/dev/xvda", Spot: true}
}

var stackName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]{0,39}$`)

// Keys of this program in the bucket: as Lambda takes it, and as machines do.
func (o *Options) zipKey() string     { return "code/" + o.Digest + ".zip" }
func (o *Options) programKey() string { return "code/" + o.Digest + "/ingot" }

func (o *Options) check() error {
	if !stackName.MatchString(o.Stack) {
		return fault.Newf(fault.Usage, "%q is no name for a deployment: letters, digits and dashes, at most 40, a letter first", o.Stack)
	}
	for _, r := range o.Recipes {
		if gated, ok := strings.CutSuffix(r.Name, gateSuffix); ok && slices.ContainsFunc(o.Recipes, func(r *recipe.Recipe) bool { return r.Name == gated && r.Schedule.Approve }) {
			return r.Refuse("name", "the activity where %s waits to be approved is called so: call this image something else", gated)
		}
		if len(o.Stack)+1+len(r.Name) > 70 || !stackName.MatchString(r.Name) {
			return r.Refuse("name", "it is too long for a state machine of %s, or no word for one", o.Stack)
		}
		for _, kind := range r.Publish.Kinds {
			if kind != recipe.EBS {
				return r.Refuse("publish", "a deployment publishes EBS-backed AMIs alone, not %s", kind)
			}
		}
		if r.Arch != "" && r.Arch != "x86_64" {
			return r.Refuse("arch", "the build machine of a deployment is an x86_64 one")
		}
	}
	return nil
}

type object = map[string]any

func ref(name string) object           { return object{"Ref": name} }
func attribute(name, of string) object { return object{"Fn::GetAtt": []string{name, of}} }
func sub(text string) object           { return object{"Fn::Sub": text} }
func tagged() []object                 { return []object{{"Key": builder.StackTag, "Value": ref("AWS::StackName")}} }

// states is what the ARNs of state machines and activities begin with.
const states = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"

// logical makes a name for a resource of a template.
func logical(image, what string) string {
	var b strings.Builder
	up := true
	for _, c := range image {
		if c == '-' || c == '.' || c == '_' {
			up = true
			continue
		}
		if up {
			b.WriteString(strings.ToUpper(string(c)))
		} else {
			b.WriteRune(c)
		}
		up = false
	}
	return b.String() + what
}

// Base writes the part of the template that has to be there before the rest: the bucket that the program is put into, and the
// catalogue.
func Base(o Options) ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return write(&o, o.base(), object{"Bucket": object{"Value": ref("Bucket")}}, nil)
}

// Template writes the whole of a deployment. The same options give the same bytes.
func Template(o Options) ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	all := o.base()
	for name, r := range o.functions() {
		all[name] = r
	}
	for name, r := range o.roles() {
		all[name] = r
	}
	outputs := object{"Bucket": object{"Value": ref("Bucket")}, "Table": object{"Value": ref("Table")}, "Catalog": object{"Value": attribute("CatalogUrl", "FunctionUrl"), "Description": "page and API of the catalogue"},
		"Alarms": object{"Value": ref("Alarms"), "Description": "topic that the alarms go to"}}
	for i, r := range o.Recipes {
		for _, l := range lines(r) {
			if err := l.add(all, outputs, o.Inputs[i]); err != nil {
				return nil, err
			}
		}
	}
	return write(&o, all, outputs, object{
		"Notify":       object{"Type": "String", "Default": "", "NoEcho": true, "Description": "URLs of those who are told of releases and failures, as of ingot run --notify, with blanks between them"},
		"MachineImage": o.Machine.parameter(),
	})
}

func (m Machine) parameter() object {
	if strings.HasPrefix(m.Image, "/") {
		return object{"Type": "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>", "Default": m.Image, "Description": "AMI of the build machine"}
	}
	return object{"Type": "AWS::EC2::Image::Id", "Default": m.Image, "Description": "AMI of the build machine"}
}

func write(o *Options, resources, outputs, parameters object) ([]byte, error) {
	names := make([]string, len(o.Recipes))
	for i, r := range o.Recipes {
		names[i] = r.Name
	}
	doc := object{"AWSTemplateFormatVersion": "2010-09-09", "Description": "ingot: " + strings.Join(names, ", "), "Resources": resources, "Outputs": outputs}
	if parameters != nil {
		doc["Parameters"] = parameters
	}
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return nil, fault.Newf(fault.Bug, "writing the template: %w", err)
	}
	return append(text, '\n'), nil
}

func (o *Options) base() object {
	key := func(hash, order string) []object {
		return []object{{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": order, "KeyType": "RANGE"}}
	}
	var attributes []object
	for _, name := range []string{"pk", "sk", "gpk", "gsk"} {
		attributes = append(attributes, object{"AttributeName": name, "AttributeType": "S"})
	}
	return object{
		"Bucket": object{"Type": "AWS::S3::Bucket", "Properties": object{
			"PublicAccessBlockConfiguration": object{"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true},
			"OwnershipControls":              object{"Rules": []object{{"ObjectOwnership": "BucketOwnerEnforced"}}},
			"BucketEncryption":               object{"ServerSideEncryptionConfiguration": []object{{"ServerSideEncryptionByDefault": object{"SSEAlgorithm": "AES256"}}}},
			"LifecycleConfiguration": object{"Rules": []object{
				{"Id": "runs", "Status": "Enabled", "Prefix": "runs/", "ExpirationInDays": 30},
				{"Id": "uploads", "Status": "Enabled", "AbortIncompleteMultipartUpload": object{"DaysAfterInitiation": 1}}}},
			"Tags": tagged(),
		}},
		"BucketPolicy": object{"Type": "AWS::S3::BucketPolicy", "Properties": object{"Bucket": ref("Bucket"), "PolicyDocument": object{"Version": "2012-10-17", "Statement": []object{{
			"Sid": "EncryptedTransportOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": []object{attribute("Bucket", "Arn"), sub("${Bucket.Arn}/*")},
			"Condition": object{"Bool": object{"aws:SecureTransport": "false"}}}}}}},
		"Table": object{"Type": "AWS::DynamoDB::Table", "Properties": object{ // as package catalog makes it
			"BillingMode": "PAY_PER_REQUEST", "KeySchema": key("pk", "sk"), "AttributeDefinitions": attributes,
			"GlobalSecondaryIndexes": []object{{"IndexName": "listed", "KeySchema": key("gpk", "gsk"),
				"Projection": object{"ProjectionType": "INCLUDE", "NonKeyAttributes": []string{"body", "state", "amis", "package"}}}},
			"PointInTimeRecoverySpecification": object{"PointInTimeRecoveryEnabled": true}, "Tags": tagged(),
		}},
	}
}
