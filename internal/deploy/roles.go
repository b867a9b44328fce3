package deploy

import (
	"slices"

	"ingot/internal/factory"
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
	}
}

// lookAtRuns lets a function see which runs are at work.
func lookAtRuns() policy.Statement {
	return policy.Allow("Runs", sub(states+":stateMachine:${AWS::StackName}-*"), "states:ListExecutions")
}

// programActions let a function hand the program to a machine that it starts.
func programActions() policy.Statement {
	return policy.Allow("Program", sub("${Bucket.Arn}/code/*"), "s3:GetObject")
}

// undoing are the actions of retirement that upkeep has no use for: what takes a stage back, and what collects garbage.
var undoing = []string{"ec2:DisableImageDeprecation", "ec2:EnableImage", "ec2:TerminateInstances", "ec2:DeleteKeyPair", "ec2:DescribeInstances", "ec2:DescribeKeyPairs",
	"ec2:DescribeVolumes", "ec2:DetachVolume", "ec2:DeleteVolume"}

// upkeep is what the function of upkeep may do: neither publish, nor start any run but those that its recipes order.
func (o *Options) upkeep() []policy.Statement {
	files := func(folders ...string) (all []object) {
		for _, folder := range folders {
			all = append(all, sub("${Bucket.Arn}/"+folder+"/*"))
		}
		return all
	}
	all := []policy.Statement{
		policy.Allow("Files", files("recipes", "locks", "state"), "s3:GetObject"), policy.Allow("State", files("state"), "s3:PutObject"),
		policy.Allow("ListFiles", attribute("Bucket", "Arn"), "s3:ListBucket"), // without it, a file that is not there looks forbidden
		catalogActions(writeCatalog...), logActions("UpkeepLog"), lookAtRuns(), policy.Allow("Tell", "*", "sns:Publish"),
	}
	var ordered []object
	retires, launches := false, false
	for _, r := range o.looking() {
		if r.Schedule.Rebuild {
			ordered = append(ordered, sub(states+":stateMachine:${AWS::StackName}-"+r.Name))
		}
		p := factory.Upkeep(r)
		_, step := p.Step("retire")
		retires, launches = retires || step, launches || p.NeedsMachine()
	}
	if len(ordered) > 0 {
		all = append(all, policy.Allow("Rebuild", ordered, "states:StartExecution"))
	}
	if retires {
		all = append(all, policy.Without(policy.Retire(), undoing...)...)
		tag := policy.Allow("TagRetired", "arn:aws:ec2:*::image/*", "ec2:CreateTags")
		tag.Condition = map[string]map[string]string{"Null": {"aws:ResourceTag/ingot:run": "false"}}
		all = append(all, policy.Allow("LookAtImages", "*", "ec2:DescribeImages", "ec2:DescribeSnapshots"), tag)
	}
	if launches {
		all = append(append(all, machineActions()...), programActions())
	}
	return all
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
	share = append(share, catalogActions(writeCatalog...), logActions("StepsLog"), lookAtRuns(), policy.Allow("Tell", "*", "sns:Publish"))
	build := append(policy.Publish(), depotActions()...)
	build = append(build, catalogActions(writeCatalog...), policy.Allow("Work", sub(states+":activity:${AWS::StackName}-*"), "states:GetActivityTask"),
		policy.Allow("Answer", "*", "states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"))
	reap := append(machineActions(), logActions("ReaperLog"), lookAtRuns(), programActions())
	all := object{
		"StepsRole":   role("lambda.amazonaws.com", share),
		"CatalogRole": role("lambda.amazonaws.com", []policy.Statement{catalogActions(readCatalog...), logActions("CatalogLog")}),
		"ReaperRole":  role("lambda.amazonaws.com", reap),
		"BuilderRole": role("ec2.amazonaws.com", build),
		"MachineRole": role("states.amazonaws.com", []policy.Statement{policy.Allow("Invoke", attribute("StepsFunction", "Arn"), "lambda:InvokeFunction")}),
		"ScheduleRole": role("scheduler.amazonaws.com", []policy.Statement{policy.Allow("Reap", attribute("ReaperFunction", "Arn"), "lambda:InvokeFunction"),
			policy.Allow("Start", sub(states+":stateMachine:${AWS::StackName}-*"), "states:StartExecution")}),
	}
	if len(o.looking()) > 0 {
		all["UpkeepRole"] = role("lambda.amazonaws.com", o.upkeep())
		all["UpkeepMachineRole"] = role("states.amazonaws.com", []policy.Statement{policy.Allow("Invoke", attribute("UpkeepFunction", "Arn"), "lambda:InvokeFunction")})
	}
	return all
}
