package deploy

import (
	"slices"

	"ingot/internal/publish/policy"
	"ingot/internal/recipe"
)

// role returns a role that a service takes on, with one policy.
func role(service string, statements []policy.Statement) object {
	return object{"Type": "AWS::IAM::Role", "Properties": object{
		"AssumeRolePolicyDocument": object{"Version": "2012-10-17", "Statement": []object{{"Effect": "Allow", "Principal": object{"Service": service}, "Action": "sts:AssumeRole"}}},
		"Policies":                 []object{{"PolicyName": "ingot", "PolicyDocument": object{"Version": "2012-10-17", "Statement": statements}}}, "Tags": tagged()}}
}

// Actions that only machines that build need, of those of publishing.
var building = []string{"ebs:StartSnapshot", "ebs:PutSnapshotBlock", "ebs:CompleteSnapshot", "ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock", "ec2:RegisterImage", "ec2:CopyImage"}

// depotActions are what sharing files in the bucket takes.
func depotActions() []policy.Statement {
	return []policy.Statement{
		policy.Allow("Files", sub("${Bucket.Arn}/*"), "s3:GetObject", "s3:PutObject"),
		policy.Allow("ListFiles", attribute("Bucket", "Arn"), "s3:ListBucket"),
	}
}

func catalogActions(actions ...string) policy.Statement {
	return policy.Allow("Catalogue", []object{attribute("Table", "Arn"), sub("${Table.Arn}/index/*")}, actions...)
}

var (
	readCatalog  = []string{"dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Query"}
	writeCatalog = append([]string{"dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}, readCatalog...)
)

// logActions let a function write into its own log.
func logActions(log string) policy.Statement {
	return policy.Allow("Log", attribute(log, "Arn"), "logs:CreateLogStream", "logs:PutLogEvents")
}

// machineActions let a function start and end machines: those of this deployment alone, with the role of machines and no other.
func machineActions() []policy.Statement {
	start := policy.Allow("StartTagged", []object{sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*"), sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:volume/*")}, "ec2:RunInstances", "ec2:CreateTags")
	end := policy.Allow("End", sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*"), "ec2:TerminateInstances")
	end.Condition = map[string]map[string]string{"Null": {"aws:ResourceTag/ingot:deployment": "false"}}
	start.Condition = map[string]map[string]string{"Null": {"aws:RequestTag/ingot:deployment": "false"}}
	return []policy.Statement{start, end,
		policy.Allow("StartFrom", []object{sub("arn:${AWS::Partition}:ec2:${AWS::Region}::image/*"), sub("arn:${AWS::Partition}:ec2:${AWS::Region}::snapshot/*"), sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:subnet/*"),
			sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:network-interface/*"), sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:security-group/*"),
			sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:spot-instances-request/*")}, "ec2:RunInstances"),
		policy.Allow("LookAtMachines", "*", "ec2:DescribeInstances"),
		policy.Allow("GiveRole", attribute("BuilderRole", "Arn"), "iam:PassRole"),
		policy.Allow("Runs", sub(states+":stateMachine:${AWS::StackName}-*"), "states:ListExecutions"),
	}
}

// renamed gives statements names that no other ones of a policy have.
func renamed(statements []policy.Statement, prefix string) []policy.Statement {
	for i := range statements {
		statements[i].Sid = prefix + statements[i].Sid
	}
	return statements
}

func (o *Options) roles() object {
	share := append(policy.Without(policy.Publish(), building...), depotActions()...)
	share = append(share, policy.Retire()...)
	if slices.ContainsFunc(o.Recipes, func(r *recipe.Recipe) bool { return r.Publish.Smoke.On() }) {
		share = append(share, renamed(policy.Smoke(), "Smoke")...)
	}
	share = append(share, machineActions()...)
	share = append(share, catalogActions(writeCatalog...), logActions("StepsLog"), policy.Allow("Tell", "*", "sns:Publish"))
	build := append(policy.Publish(), depotActions()...)
	build = append(build, catalogActions(writeCatalog...), policy.Allow("Work", sub(states+":activity:${AWS::StackName}-*"), "states:GetActivityTask"),
		policy.Allow("Answer", "*", "states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"))
	reap := append(machineActions(), logActions("ReaperLog"), policy.Allow("Files", sub("${Bucket.Arn}/code/*"), "s3:GetObject"))
	return object{
		"StepsRole":   role("lambda.amazonaws.com", share),
		"CatalogRole": role("lambda.amazonaws.com", []policy.Statement{catalogActions(readCatalog...), logActions("CatalogLog")}),
		"ReaperRole":  role("lambda.amazonaws.com", reap),
		"BuilderRole": role("ec2.amazonaws.com", build),
		"MachineRole": role("states.amazonaws.com", []policy.Statement{policy.Allow("Invoke", attribute("StepsFunction", "Arn"), "lambda:InvokeFunction")}),
		"ScheduleRole": role("scheduler.amazonaws.com", []policy.Statement{policy.Allow("Reap", attribute("ReaperFunction", "Arn"), "lambda:InvokeFunction"),
			policy.Allow("Start", sub(states+":stateMachine:${AWS::StackName}-*"), "states:StartExecution")}),
	}
}
