// Package policy has the permissions that ingot needs of AWS, as statements of IAM policies. docs/aws.md shows them to people, and
// deployments give them to their roles.
package policy

import "slices"

// Statement is a statement of a policy, as IAM has it in JSON.
type Statement struct {
	Sid       string                       `json:"Sid"`
	Effect    string                       `json:"Effect"`
	Resource  any                          `json:"Resource"` // a string or strings; in templates, also what makes one
	Condition map[string]map[string]string `json:"Condition,omitempty"`
	Action    []string                     `json:"Action"`
}

// Allow returns a statement that allows some actions on a resource.
func Allow(sid string, resource any, actions ...string) Statement {
	return Statement{Sid: sid, Effect: "Allow", Resource: resource, Action: actions}
}

// ours holds a statement to what ingot made.
func (s Statement) ours() Statement {
	s.Condition = map[string]map[string]string{"Null": {"aws:ResourceTag/ingot:run": "false"}}
	return s
}

var (
	anything  any = "*"
	snapshots any = "arn:aws:ec2:*::snapshot/*"
	made      any = []string{"arn:aws:ec2:*::image/*", "arn:aws:ec2:*::snapshot/*"}
)

// Publish is what publishing EBS-backed AMIs needs, and checking and mending them.
func Publish() []Statement {
	return []Statement{
		Allow("Look", anything, "ec2:DescribeImages", "ec2:DescribeSnapshots", "ec2:DescribeRegions", "ec2:DescribeImageAttribute",
			"ec2:DescribeSnapshotAttribute", "sts:GetCallerIdentity"),
		Allow("Upload", snapshots, "ebs:StartSnapshot", "ebs:PutSnapshotBlock", "ebs:CompleteSnapshot", "ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock"),
		Allow("Register", made, "ec2:RegisterImage", "ec2:CopyImage", "ec2:CreateTags", "ec2:DeleteTags"),
		Allow("Change", made, "ec2:ModifyImageAttribute", "ec2:ModifySnapshotAttribute", "ec2:EnableImageDeprecation", "ec2:DisableImageDeprecation",
			"ec2:EnableImageDeregistrationProtection").ours(),
		Allow("Parameters", "arn:aws:ssm:*:*:parameter/*", "ssm:GetParameter", "ssm:PutParameter"),
	}
}

// Retire is what retiring, collecting garbage and replacing need beside that.
func Retire() []Statement {
	return []Statement{
		Allow("LookForUse", anything, "ec2:DescribeImageReferences", "ec2:DescribeImageUsageReports", "ec2:DescribeImageUsageReportEntries", "ec2:CreateImageUsageReport",
			"ec2:DescribeInstances", "ec2:DescribeKeyPairs", "ec2:DescribeVolumes"),
		Allow("Retire", anything, "ec2:EnableImageDeprecation", "ec2:DisableImageDeprecation", "ec2:DisableImage", "ec2:EnableImage", "ec2:DeregisterImage",
			"ec2:DeleteSnapshot", "ec2:TerminateInstances", "ec2:DeleteKeyPair", "ec2:DetachVolume", "ec2:DeleteVolume").ours(),
		Allow("DetachFrom", "arn:aws:ec2:*:*:instance/*", "ec2:DetachVolume"), // whoever's: the volume is ours
	}
}

// Smoke is what launching an AMI to see whether it boots needs beside publishing.
func Smoke() []Statement {
	return []Statement{
		Allow("LookAtInstances", anything, "ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:GetConsoleOutput"),
		Allow("Launch", anything, "ec2:RunInstances", "ec2:ImportKeyPair", "ec2:CreateTags"),
		Allow("End", anything, "ec2:TerminateInstances", "ec2:DeleteKeyPair").ours(),
	}
}

// Without returns statements without some actions, and without those of which nothing is left.
func Without(statements []Statement, actions ...string) (all []Statement) {
	for _, s := range statements {
		s.Action = slices.DeleteFunc(slices.Clone(s.Action), func(a string) bool { return slices.Contains(actions, a) })
		if len(s.Action) > 0 {
			all = append(all, s)
		}
	}
	return all
}
