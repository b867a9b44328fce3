package deploy

import (
	"encoding/json"

	"ingot/internal/deploy/builder"
	"ingot/internal/deploy/site"
)

// function is one of Lambda's, and what it is by $INGOT_FUNCTION.
type function struct {
	name, role      string
	seconds, memory int // memory in MiB
}

// functionList are the functions of a deployment. That of upkeep reads the indexes of a distribution, for which Debian's take 140 MiB.
func (o *Options) functionList() []function {
	all := []function{{"Steps", "steps", 900, 1024}, {"Catalog", "catalog", 30, 512}, {"Reaper", "reaper", 300, 256}}
	if len(o.looking()) > 0 {
		all = append(all, function{"Upkeep", "upkeep", 900, 1024})
	}
	return all
}

func (o *Options) functions() object {
	all := object{}
	var pipelines []string
	for _, r := range o.Recipes {
		for _, l := range lines(r) {
			if l.flow.NeedsMachine() {
				pipelines = append(pipelines, l.flow.Name)
			}
		}
	}
	config := site.Config{Stack: "${AWS::StackName}", Region: "${AWS::Region}", Bucket: "${Bucket}", Catalog: "dynamodb:${Table}?region=${AWS::Region}", States: states, Pipelines: pipelines,
		Program: o.programKey(), Machine: builder.Spec{Stack: "${AWS::StackName}", Image: "${MachineImage}", Types: o.Machine.Types, Subnet: o.Machine.Subnet, Group: "${Group.GroupId}",
			Role: "${BuilderProfile}", Disk: int32(o.Machine.Disk), Root: o.Machine.Root, Spot: o.Machine.Spot}}
	text, err := json.Marshal(config)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	for _, f := range o.functionList() {
		variables := object{"INGOT_FUNCTION": f.role, "INGOT_DEPLOYMENT": sub(string(text))}
		if f.role == "steps" || f.role == "upkeep" {
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
	for _, f := range o.functionList() {
		all[f.name+"Alarm"] = alarm("errors of the function "+f.role, "AWS/Lambda", "Errors", 1, object{"Name": "FunctionName", "Value": ref(f.name + "Function")})
	}
	return all
}

func alarm(what, space, metric string, threshold int, dimension object) object {
	return object{"Type": "AWS::CloudWatch::Alarm", "Properties": object{"AlarmDescription": "ingot: " + what, "Namespace": space, "MetricName": metric, "Dimensions": []object{dimension},
		"Statistic": "Sum", "Period": 300, "EvaluationPeriods": 1, "Threshold": threshold, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "TreatMissingData": "notBreaching",
		"AlarmActions": []object{ref("Alarms")}}}
}
