// Package deploy puts the factory into an account of AWS: it writes one template of CloudFormation, has it applied, and taken away.
package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"ingot/internal/deploy/builder"
	"ingot/internal/deploy/site"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
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
		if err := o.line(all, outputs, r, o.Inputs[i]); err != nil {
			return nil, err
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

// The functions, and what they are by $INGOT_FUNCTION.
var functions = []struct {
	name, role      string
	seconds, memory int
}{
	{"Steps", "steps", 900, 1024},
	{"Catalog", "catalog", 30, 512},
	{"Reaper", "reaper", 300, 256},
}

func (o *Options) functions() object {
	all := object{}
	var images []string
	for _, r := range o.Recipes {
		images = append(images, r.Name)
	}
	config := site.Config{Stack: "${AWS::StackName}", Region: "${AWS::Region}", Bucket: "${Bucket}", Catalog: "dynamodb:${Table}?region=${AWS::Region}", States: states, Images: images,
		Program: o.programKey(), Machine: builder.Spec{Stack: "${AWS::StackName}", Image: "${MachineImage}", Types: o.Machine.Types, Subnet: o.Machine.Subnet, Group: "${Group.GroupId}",
			Role: "${BuilderProfile}", Disk: int32(o.Machine.Disk), Root: o.Machine.Root, Spot: o.Machine.Spot}}
	text, err := json.Marshal(config)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	for _, f := range functions {
		variables := object{"INGOT_FUNCTION": f.role, "INGOT_DEPLOYMENT": sub(string(text))}
		if f.role == "steps" {
			variables["INGOT_NOTIFY"], variables["INGOT_SITE"] = ref("Notify"), attribute("CatalogUrl", "FunctionUrl")
		}
		if f.role == "catalog" { // it knows of nothing else
			variables["INGOT_DEPLOYMENT"] = sub(`{"catalog":"dynamodb:${Table}?region=${AWS::Region}"}`)
		}
		all[f.name+"Log"] = object{"Type": "AWS::Logs::LogGroup", "Properties": object{"LogGroupName": sub("/aws/lambda/${AWS::StackName}-" + f.role), "RetentionInDays": 90, "Tags": tagged()}}
		all[f.name+"Function"] = object{"Type": "AWS::Lambda::Function", "DependsOn": []string{f.name + "Log"}, "Properties": object{
			"FunctionName": sub("${AWS::StackName}-" + f.role), "Runtime": "provided.al2023", "Handler": "bootstrap", "Architectures": []string{o.Arch}, "Role": attribute(f.name+"Role", "Arn"),
			"Code": object{"S3Bucket": ref("Bucket"), "S3Key": o.zipKey()}, "Timeout": f.seconds, "MemorySize": f.memory, "EphemeralStorage": object{"Size": 1024},
			"Environment": object{"Variables": variables}, "Tags": tagged()}}
	}
	all["CatalogUrl"] = object{"Type": "AWS::Lambda::Url", "Properties": object{"AuthType": "NONE", "TargetFunctionArn": attribute("CatalogFunction", "Arn")}}
	all["CatalogUrlPermission"] = object{"Type": "AWS::Lambda::Permission", "Properties": object{"Action": "lambda:InvokeFunctionUrl", "FunctionName": ref("CatalogFunction"), "FunctionUrlAuthType": "NONE", "Principal": "*"}}
	all["CatalogInvokePermission"] = object{"Type": "AWS::Lambda::Permission", "Properties": object{"Action": "lambda:InvokeFunction", "FunctionName": ref("CatalogFunction"), "InvokedViaFunctionUrl": true, "Principal": "*"}}
	group := object{"GroupDescription": "build machines of ingot: nothing comes in", "Tags": tagged()}
	if o.Machine.VPC != "" {
		group["VpcId"] = o.Machine.VPC
	}
	all["Group"] = object{"Type": "AWS::EC2::SecurityGroup", "Properties": group}
	all["BuilderProfile"] = object{"Type": "AWS::IAM::InstanceProfile", "Properties": object{"Roles": []object{ref("BuilderRole")}}}
	all["ReaperSchedule"] = object{"Type": "AWS::Scheduler::Schedule", "Properties": object{"ScheduleExpression": "rate(10 minutes)", "FlexibleTimeWindow": object{"Mode": "OFF"},
		"Target": object{"Arn": attribute("ReaperFunction", "Arn"), "RoleArn": attribute("ScheduleRole", "Arn"), "Input": "{}"}}}
	all["Alarms"] = object{"Type": "AWS::SNS::Topic", "Properties": object{"Tags": tagged()}}
	for _, f := range functions {
		all[f.name+"Alarm"] = alarm("errors of the function "+f.role, "AWS/Lambda", "Errors", 1, object{"Name": "FunctionName", "Value": ref(f.name + "Function")})
	}
	return all
}

func alarm(what, space, metric string, threshold int, dimension object) object {
	return object{"Type": "AWS::CloudWatch::Alarm", "Properties": object{"AlarmDescription": "ingot: " + what, "Namespace": space, "MetricName": metric, "Dimensions": []object{dimension},
		"Statistic": "Sum", "Period": 300, "EvaluationPeriods": 1, "Threshold": threshold, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "TreatMissingData": "notBreaching",
		"AlarmActions": []object{ref("Alarms")}}}
}

// line adds what one image has of its own.
func (o *Options) line(all, outputs object, r *recipe.Recipe, in factory.Input) error {
	names := func(what string) string { return logical(r.Name, what) }
	substitutions := object{"Function": attribute("StepsFunction", "Arn"), "Activity": ref(names("Activity"))}
	if r.Schedule.Approve {
		substitutions["Gate"] = ref(names("Gate"))
		all[names("Gate")] = object{"Type": "AWS::StepFunctions::Activity", "Properties": object{"Name": sub("${AWS::StackName}-" + r.Name + "-approve"), "Tags": tagged()}}
	}
	definition, err := asl.Machine(factory.Pipeline(r), asl.Options{Function: "${Function}", Activity: "${Activity}", Gate: "${Gate}"})
	if err != nil {
		return err
	}
	if _, twice := all[names("Machine")]; twice {
		return r.Refuse("name", "another image's name is the same but for dashes and dots")
	}
	all[names("Activity")] = object{"Type": "AWS::StepFunctions::Activity", "Properties": object{"Name": sub("${AWS::StackName}-" + r.Name), "Tags": tagged()}}
	all[names("Machine")] = object{"Type": "AWS::StepFunctions::StateMachine", "Properties": object{"StateMachineName": sub("${AWS::StackName}-" + r.Name), "RoleArn": attribute("MachineRole", "Arn"),
		"Definition": json.RawMessage(definition), "DefinitionSubstitutions": substitutions, "Tags": tagged()}}
	for _, metric := range []string{"ExecutionsFailed", "ExecutionsTimedOut"} {
		all[names(metric)] = alarm(r.Name+": "+metric, "AWS/States", metric, 1, object{"Name": "StateMachineArn", "Value": ref(names("Machine"))})
	}
	outputs[names("Activity")] = object{"Value": ref(names("Activity")), "Description": "for ingot worker --activity"}
	outputs[names("Machine")] = object{"Value": ref(names("Machine")), "Description": "state machine of " + r.Name}
	if r.Schedule.Cron == "" {
		return nil
	}
	expression, err := cronExpression(r)
	if err != nil {
		return err
	}
	input, err := json.Marshal(object{"input": struct {
		factory.Input
		Cause string `json:"cause"`
	}{in, "schedule"}})
	if err != nil {
		return err
	}
	window := object{"Mode": "OFF"}
	if late := r.Schedule.Late(); late >= time.Minute {
		window = object{"Mode": "FLEXIBLE", "MaximumWindowInMinutes": min(int(late.Minutes()), 1440)}
	}
	zone := r.Schedule.Zone
	if zone == "" {
		zone = "UTC"
	}
	all[names("Schedule")] = object{"Type": "AWS::Scheduler::Schedule", "Properties": object{"Description": fmt.Sprintf("ingot: %s, %s", r.Name, r.Schedule.Cron), "ScheduleExpression": expression, "ScheduleExpressionTimezone": zone,
		"FlexibleTimeWindow": window, "Target": object{"Arn": ref(names("Machine")), "RoleArn": attribute("ScheduleRole", "Arn"), "Input": string(input)}}}
	return nil
}
