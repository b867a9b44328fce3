package region

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// clientCall is what clients.py and commands.py are told.
type clientCall struct {
	Service   string         `json:"service"`
	Operation string         `json:"operation"`
	Params    map[string]any `json:"params"`
	Region    string         `json:"region"`
}

// clientResult is what they answer.
type clientResult struct {
	Output  map[string]any `json:"output"`
	Code    string         `json:"code"`    // the service's refusal
	Failure string         `json:"failure"` // the client's
}

// client is one of Debian's clients, which makes the calls that it is told, and keeps what rows have kept of their answers.
type client struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Scanner
	vars map[string]string
}

// python is Debian's, which has Debian's boto3; another one on the PATH may have another.
const python = "/usr/bin/python3"

func (f *fixture) client(script string) *client {
	f.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(f.t.Context()), python, filepath.Join("testdata", script), f.url) // it ends with its input
	c := f.region.Credentials()
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + f.t.TempDir(), "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "PYTHONDONTWRITEBYTECODE=1"}
	cmd.Stderr = f.t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			f.t.Error(err)
		}
	})
	s := bufio.NewScanner(out)
	s.Buffer(nil, 16<<20)
	return &client{f.t, in, s, map[string]string{}}
}

var variable = regexp.MustCompile(`\$\{([a-z0-9-]+)\}`)

// call makes a call, with what rows have kept in place of ${names}.
func (c *client) call(service, operation, params string) clientResult {
	c.t.Helper()
	text := variable.ReplaceAllStringFunc(params, func(m string) string {
		v, ok := c.vars[m[2:len(m)-1]]
		if !ok {
			c.t.Fatalf("%s: no row has kept %s", operation, m)
		}
		return v
	})
	call := clientCall{Service: service, Operation: operation, Region: "us-east-1"}
	if err := json.Unmarshal([]byte(text), &call.Params); err != nil {
		c.t.Fatalf("%s: %s: %v", operation, text, err)
	}
	line, err := json.Marshal(call)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c.in, "%s\n", line); err != nil {
		c.t.Fatal(err)
	}
	if !c.out.Scan() {
		c.t.Fatalf("%s: the client has ended: %v", operation, c.out.Err())
	}
	var r clientResult
	if err := json.Unmarshal(c.out.Bytes(), &r); err != nil {
		c.t.Fatalf("%s: %s: %v", operation, c.out.Text(), err)
	}
	return r
}

// at returns the string at a path of keys and the first items of lists, or "".
func at(v any, path string) string {
	for key := range strings.FieldsSeq(path) {
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0]
		}
		m, _ := v.(map[string]any)
		v = m[key]
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	s, _ := v.(string)
	return s
}

// clientRow is an action: a call that succeeds and one that is refused. The rows run in their order, and keep what later ones need.
type clientRow struct {
	service, action string
	params          string
	keep            string // "name=Path Of Keys"
	wrong, code     string // "": the action takes nothing that could be wrong
	wait            string // for an instance to be in this state, before the call
}

const nothing = "{}"

var clientRows = []clientRow{
	{service: "sts", action: "GetCallerIdentity", params: nothing, keep: "account=Account"},
	{service: "ebs", action: "StartSnapshot", params: `{"VolumeSize":1,"Tags":[{"Key":"a","Value":"b"}]}`, keep: "snapshot=SnapshotId", wrong: `{"VolumeSize":1,"ParentSnapshotId":"snap-0123456789abcdef0"}`, code: "ResourceNotFoundException"},
	{service: "ebs", action: "PutSnapshotBlock", params: `{"SnapshotId":"${snapshot}","BlockIndex":3,"BlockData":{"$stream":"${block}"},"DataLength":524288,"Checksum":"${sum}","ChecksumAlgorithm":"SHA256"}`,
		wrong: `{"SnapshotId":"${snapshot}","BlockIndex":4000,"BlockData":{"$stream":"${block}"},"DataLength":524288,"Checksum":"${sum}","ChecksumAlgorithm":"SHA256"}`, code: "ValidationException"},
	{service: "ebs", action: "CompleteSnapshot", params: `{"SnapshotId":"${snapshot}","ChangedBlocksCount":1}`, wrong: `{"SnapshotId":"${snapshot}","ChangedBlocksCount":1}`, code: "ValidationException"},
	{service: "ebs", action: "ListSnapshotBlocks", params: `{"SnapshotId":"${snapshot}"}`, keep: "token=Blocks BlockToken", wrong: `{"SnapshotId":"${snapshot}","NextToken":"AAAA"}`, code: "ValidationException"},
	{service: "ebs", action: "ListChangedBlocks", params: `{"SecondSnapshotId":"${snapshot}"}`, wrong: `{"SecondSnapshotId":"snap-0123456789abcdef0"}`, code: "ResourceNotFoundException"},
	{service: "ebs", action: "GetSnapshotBlock", params: `{"SnapshotId":"${snapshot}","BlockIndex":3,"BlockToken":"${token}"}`, wrong: `{"SnapshotId":"${snapshot}","BlockIndex":4,"BlockToken":"${token}"}`, code: "ValidationException"},
	{service: "ec2", action: "DescribeSnapshots", params: `{"OwnerIds":["self"],"Filters":[{"Name":"tag:a","Values":["b"]}]}`, wrong: `{"SnapshotIds":["snap-0123456789abcdef0"]}`, code: "InvalidSnapshot.NotFound"},
	{service: "ec2", action: "RegisterImage", params: `{"Name":"first","Architecture":"x86_64","VirtualizationType":"hvm","EnaSupport":true,"BootMode":"uefi","ImdsSupport":"v2.0","RootDeviceName":"/dev/xvda",` +
		`"BlockDeviceMappings":[{"DeviceName":"/dev/xvda","Ebs":{"SnapshotId":"${snapshot}","VolumeType":"gp3"}}]}`, keep: "image=ImageId",
		wrong: `{"Name":"second","RootDeviceName":"/dev/sda1","BlockDeviceMappings":[{"DeviceName":"/dev/sda1","Ebs":{"SnapshotId":"snap-0123456789abcdef0"}}]}`, code: "InvalidSnapshot.NotFound"},
	{service: "ec2", action: "DescribeImages", params: `{"Owners":["self"],"Filters":[{"Name":"name","Values":["f*"]}]}`, wrong: `{"Filters":[{"Name":"colour","Values":["red"]}]}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "ModifyImageAttribute", params: `{"ImageId":"${image}","LaunchPermission":{"Add":[{"Group":"all"},{"UserId":"123456789012"}]}}`, wrong: `{"ImageId":"${image}","LaunchPermission":{"Add":[{"UserId":"12"}]}}`, code: "InvalidAMIAttributeItemValue"},
	{service: "ec2", action: "DescribeImageAttribute", params: `{"ImageId":"${image}","Attribute":"launchPermission"}`, wrong: `{"ImageId":"ami-0123456789abcdef0","Attribute":"description"}`, code: "InvalidAMIID.NotFound"},
	{service: "ec2", action: "ResetImageAttribute", params: `{"ImageId":"${image}","Attribute":"launchPermission"}`, wrong: `{"ImageId":"ami-0123456789abcdef0","Attribute":"launchPermission"}`, code: "InvalidAMIID.NotFound"},
	{service: "ec2", action: "EnableImageDeprecation", params: `{"ImageId":"${image}","DeprecateAt":"2035-01-01T00:00:00Z"}`, wrong: `{"ImageId":"${image}","DeprecateAt":"2009-01-01T00:00:00Z"}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DisableImageDeprecation", params: `{"ImageId":"${image}"}`, wrong: `{"ImageId":"ami-0123456789abcdef0"}`, code: "InvalidAMIID.NotFound"},
	{service: "ec2", action: "CopyImage", params: `{"Name":"copy","SourceImageId":"${image}","SourceRegion":"us-east-1","ClientToken":"c"}`, keep: "copy=ImageId", wrong: `{"Name":"copy","SourceImageId":"${image}","SourceRegion":"mars-1"}`, code: "InvalidRegion"},
	{service: "ec2", action: "CopySnapshot", params: `{"SourceSnapshotId":"${snapshot}","SourceRegion":"us-east-1","Encrypted":true}`, keep: "snapshot-copy=SnapshotId", wrong: `{"SourceSnapshotId":"snap-0123456789abcdef0","SourceRegion":"us-east-1"}`, code: "InvalidSnapshot.NotFound"},
	{service: "ec2", action: "ModifySnapshotAttribute", params: `{"SnapshotId":"${snapshot}","Attribute":"createVolumePermission","OperationType":"add","UserIds":["123456789012"]}`,
		wrong: `{"SnapshotId":"${snapshot-copy}","Attribute":"createVolumePermission","OperationType":"add","GroupNames":["all"]}`, code: "OperationNotPermitted"},
	{service: "ec2", action: "DescribeSnapshotAttribute", params: `{"SnapshotId":"${snapshot}","Attribute":"createVolumePermission"}`, wrong: `{"SnapshotId":"snap-0123456789abcdef0","Attribute":"createVolumePermission"}`, code: "InvalidSnapshot.NotFound"},
	{service: "ec2", action: "ResetSnapshotAttribute", params: `{"SnapshotId":"${snapshot}","Attribute":"createVolumePermission"}`, wrong: `{"SnapshotId":"snap-0123456789abcdef0","Attribute":"createVolumePermission"}`, code: "InvalidSnapshot.NotFound"},
	{service: "ec2", action: "CreateTags", params: `{"Resources":["${image}"],"Tags":[{"Key":"x","Value":"y"}]}`, wrong: `{"Resources":["${image}"],"Tags":[{"Key":"aws:x","Value":"y"}]}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DescribeTags", params: `{"Filters":[{"Name":"key","Values":["x"]}]}`, wrong: `{"Filters":[{"Name":"colour","Values":["red"]}]}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DeleteTags", params: `{"Resources":["${image}"],"Tags":[{"Key":"x"}]}`, wrong: `{"Resources":["ami-0123456789abcdef0"],"Tags":[{"Key":"x"}]}`, code: "InvalidAMIID.NotFound"},
	{service: "ec2", action: "DescribeRegions", params: `{"AllRegions":true}`, wrong: `{"RegionNames":["mars-1"]}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DescribeAvailabilityZones", params: nothing, keep: "zone=AvailabilityZones ZoneName", wrong: `{"ZoneNames":["mars-1a"]}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "GetEbsEncryptionByDefault", params: nothing, wrong: `{"DryRun":true}`, code: "DryRunOperation"},
	{service: "ec2", action: "CreateKeyPair", params: `{"KeyName":"k","KeyType":"ed25519"}`, wrong: `{"KeyName":"k"}`, code: "InvalidKeyPair.Duplicate"},
	{service: "ec2", action: "ImportKeyPair", params: `{"KeyName":"i","PublicKeyMaterial":{"$blob":"${public-key}"}}`, wrong: `{"KeyName":"j","PublicKeyMaterial":{"$blob":"AAAA"}}`, code: "InvalidKey.Format"},
	{service: "ec2", action: "DescribeKeyPairs", params: `{"KeyNames":["k"],"IncludePublicKey":true}`, wrong: `{"KeyNames":["nobody"]}`, code: "InvalidKeyPair.NotFound"},
	{service: "ec2", action: "DeleteKeyPair", params: `{"KeyName":"i"}`, wrong: nothing, code: "MissingParameter"},
	{service: "ec2", action: "DescribeVpcs", params: `{"Filters":[{"Name":"isDefault","Values":["true"]}]}`, keep: "vpc=Vpcs VpcId", wrong: `{"VpcIds":["vpc-0123456789abcdef0"]}`, code: "InvalidVpcID.NotFound"},
	{service: "ec2", action: "DescribeSubnets", params: `{"Filters":[{"Name":"vpc-id","Values":["${vpc}"]},{"Name":"availability-zone","Values":["us-east-1a"]}]}`, keep: "subnet=Subnets SubnetId", wrong: `{"SubnetIds":["subnet-0123456789abcdef0"]}`, code: "InvalidSubnetID.NotFound"},
	{service: "ec2", action: "CreateSecurityGroup", params: `{"GroupName":"g","Description":"of a test","VpcId":"${vpc}"}`, keep: "group=GroupId", wrong: `{"GroupName":"g","Description":"again"}`, code: "InvalidGroup.Duplicate"},
	{service: "ec2", action: "AuthorizeSecurityGroupIngress", params: `{"GroupId":"${group}","IpPermissions":[{"IpProtocol":"tcp","FromPort":22,"ToPort":22,"IpRanges":[{"CidrIp":"0.0.0.0/0"}]}]}`,
		wrong: `{"GroupId":"${group}","IpPermissions":[{"IpProtocol":"tcp","FromPort":22,"ToPort":22,"IpRanges":[{"CidrIp":"0.0.0.0/0"}]}]}`, code: "InvalidPermission.Duplicate"},
	{service: "ec2", action: "AuthorizeSecurityGroupEgress", params: `{"GroupId":"${group}","IpPermissions":[{"IpProtocol":"udp","FromPort":53,"ToPort":53,"UserIdGroupPairs":[{"GroupId":"${group}"}]}]}`,
		wrong: `{"GroupId":"${group}","IpPermissions":[{"IpProtocol":"udp","FromPort":53,"ToPort":53,"IpRanges":[{"CidrIp":"everywhere"}]}]}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DescribeSecurityGroups", params: `{"GroupIds":["${group}"]}`, wrong: `{"GroupIds":["sg-0123456789abcdef0"]}`, code: "InvalidGroup.NotFound"},
	{service: "ec2", action: "RevokeSecurityGroupEgress", params: `{"GroupId":"${group}","IpPermissions":[{"IpProtocol":"udp","FromPort":53,"ToPort":53,"UserIdGroupPairs":[{"GroupId":"${group}"}]}]}`,
		wrong: `{"GroupId":"${group}","IpPermissions":[{"IpProtocol":"udp","FromPort":53,"ToPort":53,"UserIdGroupPairs":[{"GroupId":"${group}"}]}]}`, code: "InvalidPermission.NotFound"},
	{service: "ec2", action: "RevokeSecurityGroupIngress", params: `{"GroupId":"${group}","IpProtocol":"tcp","FromPort":22,"ToPort":22,"CidrIp":"0.0.0.0/0"}`,
		wrong: `{"GroupId":"${group}","IpProtocol":"tcp","FromPort":22,"ToPort":22,"CidrIp":"0.0.0.0/0"}`, code: "InvalidPermission.NotFound"},
	{service: "ec2", action: "CreateLaunchTemplate", params: `{"LaunchTemplateName":"template","LaunchTemplateData":{"ImageId":"${image}","InstanceType":"t3.micro","KeyName":"k","SecurityGroupIds":["${group}"],` +
		`"BlockDeviceMappings":[{"DeviceName":"/dev/sdf","Ebs":{"VolumeSize":1,"DeleteOnTermination":true}}],"TagSpecifications":[{"ResourceType":"instance","Tags":[{"Key":"t","Value":"u"}]}],` +
		`"MetadataOptions":{"HttpTokens":"required"},"Placement":{"AvailabilityZone":"us-east-1a"}}}`, keep: "template=LaunchTemplate LaunchTemplateId",
		wrong: `{"LaunchTemplateName":"template","LaunchTemplateData":{"ImageId":"${image}"}}`, code: "InvalidLaunchTemplateName.AlreadyExistsException"},
	{service: "ec2", action: "CreateLaunchTemplateVersion", params: `{"LaunchTemplateId":"${template}","SourceVersion":"1","LaunchTemplateData":{"InstanceType":"t3.small"}}`,
		wrong: `{"LaunchTemplateId":"${template}","SourceVersion":"7","LaunchTemplateData":{"InstanceType":"t3.small"}}`, code: "InvalidLaunchTemplateId.VersionNotFound"},
	{service: "ec2", action: "ModifyLaunchTemplate", params: `{"LaunchTemplateId":"${template}","DefaultVersion":"2"}`, wrong: `{"LaunchTemplateId":"${template}","DefaultVersion":"7"}`, code: "InvalidLaunchTemplateId.VersionNotFound"},
	{service: "ec2", action: "DescribeLaunchTemplates", params: `{"LaunchTemplateNames":["template"]}`, wrong: `{"LaunchTemplateNames":["nothing"]}`, code: "InvalidLaunchTemplateName.NotFoundException"},
	{service: "ec2", action: "DescribeLaunchTemplateVersions", params: `{"LaunchTemplateId":"${template}"}`, wrong: `{"LaunchTemplateId":"lt-0123456789abcdef0"}`, code: "InvalidLaunchTemplateId.NotFound"},
	{service: "ec2", action: "RunInstances", params: `{"LaunchTemplate":{"LaunchTemplateId":"${template}","Version":"$Latest"},"MinCount":1,"MaxCount":1}`, keep: "instance=Instances InstanceId",
		wrong: `{"ImageId":"${image}","InstanceType":"t4g.micro","MinCount":1,"MaxCount":1}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DescribeInstances", params: `{"InstanceIds":["${instance}"]}`, wrong: `{"InstanceIds":["i-0123456789abcdef0"]}`, code: "InvalidInstanceID.NotFound", wait: "running"},
	{service: "ec2", action: "DescribeInstanceStatus", params: `{"IncludeAllInstances":true}`, wrong: `{"MaxResults":2}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DescribeNetworkInterfaces", params: `{"Filters":[{"Name":"attachment.instance-id","Values":["${instance}"]}]}`, wrong: `{"NetworkInterfaceIds":["eni-0123456789abcdef0"]}`, code: "InvalidNetworkInterfaceID.NotFound"},
	{service: "ec2", action: "DescribeInstanceAttribute", params: `{"InstanceId":"${instance}","Attribute":"userData"}`, wrong: `{"InstanceId":"i-0123456789abcdef0","Attribute":"userData"}`, code: "InvalidInstanceID.NotFound"},
	{service: "ec2", action: "ModifyInstanceAttribute", params: `{"InstanceId":"${instance}","DisableApiTermination":{"Value":false}}`, wrong: `{"InstanceId":"${instance}","EnaSupport":{"Value":true}}`, code: "IncorrectInstanceState"},
	{service: "ec2", action: "GetConsoleOutput", params: `{"InstanceId":"${instance}"}`, wrong: `{"InstanceId":"i-0123456789abcdef0"}`, code: "InvalidInstanceID.NotFound"},
	{service: "ec2", action: "RebootInstances", params: `{"InstanceIds":["${instance}"]}`, wrong: `{"InstanceIds":["i-0123456789abcdef0"]}`, code: "InvalidInstanceID.NotFound"},
	{service: "ec2", action: "CreateVolume", params: `{"AvailabilityZone":"us-east-1a","Size":1,"VolumeType":"gp3"}`, keep: "volume=VolumeId", wrong: `{"AvailabilityZone":"us-east-1a"}`, code: "MissingParameter"},
	{service: "ec2", action: "DescribeVolumes", params: `{"VolumeIds":["${volume}"]}`, wrong: `{"VolumeIds":["vol-0123456789abcdef0"]}`, code: "InvalidVolume.NotFound"},
	{service: "ec2", action: "ModifyVolume", params: `{"VolumeId":"${volume}","Size":2}`, wrong: `{"VolumeId":"${volume}","Size":1}`, code: "InvalidParameterValue"},
	{service: "ec2", action: "DescribeVolumesModifications", params: `{"VolumeIds":["${volume}"]}`, wrong: `{"VolumeIds":["vol-0123456789abcdef0"]}`, code: "InvalidVolume.NotFound"},
	{service: "ec2", action: "CreateSnapshot", params: `{"VolumeId":"${volume}","Description":"of a test"}`, wrong: `{"VolumeId":"vol-0123456789abcdef0"}`, code: "InvalidVolume.NotFound"},
	{service: "ec2", action: "StopInstances", params: `{"InstanceIds":["${instance}"]}`, wrong: `{"InstanceIds":["${instance}"],"Hibernate":true}`, code: "UnsupportedHibernationConfiguration"},
	{service: "ec2", action: "AttachVolume", params: `{"VolumeId":"${volume}","InstanceId":"${instance}","Device":"/dev/sdg"}`, wrong: `{"VolumeId":"${volume}","InstanceId":"${instance}","Device":"/dev/sdh"}`, code: "VolumeInUse", wait: "stopped"},
	{service: "ec2", action: "CreateSnapshots", params: `{"InstanceSpecification":{"InstanceId":"${instance}","ExcludeBootVolume":true},"CopyTagsFromSource":"volume"}`,
		wrong: `{"InstanceSpecification":{"InstanceId":"i-0123456789abcdef0"}}`, code: "InvalidInstanceID.NotFound"},
	{service: "ec2", action: "DetachVolume", params: `{"VolumeId":"${volume}"}`, wrong: `{"VolumeId":"${volume}"}`, code: "IncorrectState"},
	{service: "ec2", action: "DeleteVolume", params: `{"VolumeId":"${volume}"}`, wrong: `{"VolumeId":"${volume}"}`, code: "InvalidVolume.NotFound"},
	{service: "ec2", action: "StartInstances", params: `{"InstanceIds":["${instance}"]}`, wrong: `{"InstanceIds":["i-0123456789abcdef0"]}`, code: "InvalidInstanceID.NotFound"},
	{service: "ec2", action: "TerminateInstances", params: `{"InstanceIds":["${instance}"]}`, wrong: `{"InstanceIds":["i-0123456789abcdef0"]}`, code: "InvalidInstanceID.NotFound"},
	{service: "ec2", action: "DeleteLaunchTemplate", params: `{"LaunchTemplateId":"${template}"}`, wrong: `{"LaunchTemplateId":"${template}"}`, code: "InvalidLaunchTemplateId.NotFound"},
	{service: "ec2", action: "DeleteSecurityGroup", params: `{"GroupId":"${group}"}`, wrong: `{"GroupId":"${group}"}`, code: "InvalidGroup.NotFound", wait: "terminated"},
	{service: "ec2", action: "DeregisterImage", params: `{"ImageId":"${copy}"}`, wrong: `{"ImageId":"${copy}"}`, code: "InvalidAMIID.Unavailable"},
	{service: "ec2", action: "DeleteSnapshot", params: `{"SnapshotId":"${snapshot-copy}"}`, wrong: `{"SnapshotId":"${snapshot}"}`, code: "InvalidSnapshot.InUse"},
	{service: "ssm", action: "PutParameter", params: `{"Name":"/a/b","Value":"v","Type":"String"}`, wrong: `{"Name":"/a/b","Value":"w","Type":"String"}`, code: "ParameterAlreadyExists"},
	{service: "ssm", action: "GetParameter", params: `{"Name":"/a/b"}`, wrong: `{"Name":"/a/c"}`, code: "ParameterNotFound"},
	{service: "ssm", action: "GetParameters", params: `{"Names":["/a/b","/a/c"]}`, wrong: `{"Names":["/1","/2","/3","/4","/5","/6","/7","/8","/9","/10","/11"]}`, code: "ValidationException"},
	{service: "ssm", action: "GetParametersByPath", params: `{"Path":"/a","Recursive":true}`, wrong: `{"Path":"/a","MaxResults":90}`, code: "ValidationException"},
	{service: "ssm", action: "DescribeParameters", params: nothing, wrong: `{"NextToken":"AAAA"}`, code: "InvalidNextToken"},
	{service: "ssm", action: "AddTagsToResource", params: `{"ResourceType":"Parameter","ResourceId":"/a/b","Tags":[{"Key":"k","Value":"v"}]}`, wrong: `{"ResourceType":"Parameter","ResourceId":"/a/c","Tags":[{"Key":"k","Value":"v"}]}`, code: "InvalidResourceId"},
	{service: "ssm", action: "ListTagsForResource", params: `{"ResourceType":"Parameter","ResourceId":"/a/b"}`, wrong: `{"ResourceType":"Parameter","ResourceId":"/a/c"}`, code: "InvalidResourceId"},
	{service: "ssm", action: "RemoveTagsFromResource", params: `{"ResourceType":"Parameter","ResourceId":"/a/b","TagKeys":["k"]}`, wrong: `{"ResourceType":"Parameter","ResourceId":"/a/c","TagKeys":["k"]}`, code: "InvalidResourceId"},
	{service: "ssm", action: "DeleteParameter", params: `{"Name":"/a/b"}`, wrong: `{"Name":"/a/b"}`, code: "ParameterNotFound"},
	{service: "ssm", action: "DeleteParameters", params: `{"Names":["/a/b"]}`, wrong: `{"Names":["/1","/2","/3","/4","/5","/6","/7","/8","/9","/10","/11"]}`, code: "ValidationException"},
	{service: "service-quotas", action: "ListServiceQuotas", params: `{"ServiceCode":"ec2"}`, wrong: `{"ServiceCode":"moon"}`, code: "NoSuchResourceException"},
	{service: "service-quotas", action: "GetServiceQuota", params: `{"ServiceCode":"ec2","QuotaCode":"L-0E3CBAB9"}`, wrong: `{"ServiceCode":"ec2","QuotaCode":"L-00000000"}`, code: "NoSuchResourceException"},
	{service: "service-quotas", action: "GetAWSDefaultServiceQuota", params: `{"ServiceCode":"ec2","QuotaCode":"L-0E3CBAB9"}`, wrong: `{"ServiceCode":"ec2","QuotaCode":"L-00000000"}`, code: "NoSuchResourceException"},
	{service: "s3", action: "CreateBucket", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"A_BUCKET"}`, code: "InvalidBucketName"},
	{service: "s3", action: "ListBuckets", params: nothing},
	{service: "s3", action: "HeadBucket", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"no-bucket"}`, code: "404"},
	{service: "s3", action: "GetBucketLocation", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"no-bucket"}`, code: "NoSuchBucket"},
	{service: "s3", action: "GetBucketOwnershipControls", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"no-bucket"}`, code: "NoSuchBucket"},
	{service: "s3", action: "PutBucketOwnershipControls", params: `{"Bucket":"a-bucket","OwnershipControls":{"Rules":[{"ObjectOwnership":"ObjectWriter"}]}}`,
		wrong: `{"Bucket":"no-bucket","OwnershipControls":{"Rules":[{"ObjectOwnership":"ObjectWriter"}]}}`, code: "NoSuchBucket"},
	{service: "s3", action: "GetBucketAcl", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"no-bucket"}`, code: "NoSuchBucket"},
	{service: "s3", action: "PutObject", params: `{"Bucket":"a-bucket","Key":"o","Body":{"$stream":"${block}"}}`, wrong: `{"Bucket":"no-bucket","Key":"o","Body":{"$stream":"${block}"}}`, code: "NoSuchBucket"},
	{service: "s3", action: "GetObject", params: `{"Bucket":"a-bucket","Key":"o"}`, wrong: `{"Bucket":"a-bucket","Key":"p"}`, code: "NoSuchKey"},
	{service: "s3", action: "HeadObject", params: `{"Bucket":"a-bucket","Key":"o"}`, wrong: `{"Bucket":"a-bucket","Key":"p"}`, code: "404"},
	{service: "s3", action: "PutObjectAcl", params: `{"Bucket":"a-bucket","Key":"o","ACL":"aws-exec-read"}`, wrong: `{"Bucket":"a-bucket","Key":"p","ACL":"private"}`, code: "NoSuchKey"},
	{service: "s3", action: "GetObjectAcl", params: `{"Bucket":"a-bucket","Key":"o"}`, wrong: `{"Bucket":"a-bucket","Key":"p"}`, code: "NoSuchKey"},
	{service: "s3", action: "ListObjects", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"no-bucket"}`, code: "NoSuchBucket"},
	{service: "s3", action: "ListObjectsV2", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"no-bucket"}`, code: "NoSuchBucket"},
	{service: "s3", action: "DeleteObject", params: `{"Bucket":"a-bucket","Key":"p"}`, wrong: `{"Bucket":"no-bucket","Key":"o"}`, code: "NoSuchBucket"},
	{service: "s3", action: "DeleteObjects", params: `{"Bucket":"a-bucket","Delete":{"Objects":[{"Key":"q"}]}}`, wrong: `{"Bucket":"no-bucket","Delete":{"Objects":[{"Key":"o"}]}}`, code: "NoSuchBucket"},
	{service: "s3", action: "DeleteBucketOwnershipControls", params: `{"Bucket":"a-bucket"}`, wrong: `{"Bucket":"no-bucket"}`, code: "NoSuchBucket"},
	{service: "s3", action: "DeleteBucket", params: `{"Bucket":"${empty-bucket}"}`, wrong: `{"Bucket":"a-bucket"}`, code: "BucketNotEmpty"},
	{service: "sts", action: "AssumeRole", params: `{"RoleArn":"arn:aws:iam::000000000000:role/r","RoleSessionName":"test"}`, wrong: `{"RoleArn":"arn:aws:iam::000000000000:role/r","RoleSessionName":"test","DurationSeconds":1000000}`, code: "ValidationError"},
}

// TestClientRows checks that there is a row for each action that Debian's clients know.
func TestClientRows(t *testing.T) {
	t.Parallel()
	rows := map[string]bool{}
	for _, r := range clientRows {
		rows[r.service+" "+r.action] = true
	}
	want := map[string][]string{"ebs": slices.Collect(maps.Keys(operations)), "s3": slices.Collect(maps.Keys(s3Operations)), "sts": {"AssumeRole", "GetCallerIdentity"},
		"ssm": slices.Collect(maps.Keys(jsonServices["ssm"].actions)), "service-quotas": slices.Collect(maps.Keys(jsonServices["servicequotas"].actions))}
	for name := range actions {
		if !slices.Contains(newerActions, name) {
			want["ec2"] = append(want["ec2"], name)
		}
	}
	for service, names := range want {
		for _, name := range names {
			if !rows[service+" "+name] {
				t.Errorf("%s %s has no row", service, name)
			}
		}
	}
}

// TestClients has Debian's boto3 ask for each action that it knows: rightly, and wrongly; and Debian's AWS CLI for some of them, or, as
// that takes a while, for all with INGOT_E2E.
func TestClients(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	some := clientRows
	if os.Getenv("INGOT_E2E") == "" {
		some = some[:5]
	}
	for _, c := range []struct {
		module, script string
		rows           []clientRow
	}{{"boto3", "clients.py", clientRows}, {"awscli", "commands.py", some}} {
		t.Run(c.module, func(t *testing.T) {
			t.Parallel()
			if err := exec.CommandContext(t.Context(), python, "-c", "import "+c.module).Run(); err != nil {
				t.Skipf("Debian's %s is not installed", c.module)
			}
			f := newFixture(t, Options{Machines: &fakeRunner{}})
			f.runRows(f.client(c.script), c.rows)
		})
	}
}

// runRows has a client make the calls of rows.
func (f *fixture) runRows(c *client, rows []clientRow) {
	t := f.t
	data, sum := block('c')
	c.vars["sum"], c.vars["block"] = *encode(sum), filepath.Join(t.TempDir(), "block")
	c.vars["public-key"] = base64.StdEncoding.EncodeToString([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUBxKKBBJYoC8hGjFVLCfQTwaVfqvQ6AnN0jD6IVRQx me"))
	c.vars["empty-bucket"] = "an-empty-bucket"
	if err := os.WriteFile(c.vars["block"], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := c.call("s3", "CreateBucket", `{"Bucket":"an-empty-bucket"}`); r.Output == nil {
		t.Fatalf("making a bucket: %+v", r)
	}
	for _, row := range rows {
		if row.wait != "" {
			f.await(c.vars["instance"], ec2types.InstanceStateName(row.wait))
		}
		r := c.call(row.service, row.action, row.params)
		if r.Output == nil {
			t.Errorf("%s: %s%s", row.action, r.Code, r.Failure)
		}
		if name, path, ok := strings.Cut(row.keep, "="); ok {
			if c.vars[name] = at(r.Output, path); c.vars[name] == "" {
				t.Fatalf("%s: no %s in %v", row.action, path, r.Output)
			}
		}
		if row.wrong == "" {
			continue
		}
		if r := c.call(row.service, row.action, row.wrong); r.Code != row.code {
			t.Errorf("%s, asked wrongly: %q%s, not %s", row.action, r.Code, r.Failure, row.code)
		}
	}
}
