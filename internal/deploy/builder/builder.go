// Package builder starts machines that build images, and sees to it that each of them ends.
package builder

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// Tags of machines.
const (
	RunTag   = "ingot:build"      // the run that a machine is for
	StackTag = "ingot:deployment" // the deployment that it belongs to
)

// Spec is what a machine is.
type Spec struct {
	Stack  string   // the deployment
	Image  string   // AMI
	Types  []string // instance types, the one to be tried first first
	Subnet string
	Group  string // security group
	Role   string // name of the instance profile
	Disk   int32  // GiB of the root volume
	Root   string // device of the root volume, as the image names it
	Spot   bool   // where there is none to be had, one at the full price is taken
	Tags   map[string]string
}

// Builders are the machines of a deployment.
type Builders struct {
	EC2  *ec2.Client // whose retries are off
	Spec Spec
}

// New returns the machines of a deployment, by a configuration whose retries are off.
func New(cfg aws.Config, s Spec) *Builders { return &Builders{ec2.NewFromConfig(cfg), s} }

// noCapacity are the refusals after which another type, or the full price, may do.
var noCapacity = []string{"InsufficientInstanceCapacity", "SpotMaxPriceTooLow", "MaxSpotInstanceCountExceeded", "InsufficientFreeAddressesInSubnet", "Unsupported",
	"UnsupportedOperation", "InsufficientHostCapacity"}

// Launch starts a machine for a run and returns its id, or that of the one that it has. script is run by it when it boots, as root;
// when the machine shuts down, it is terminated.
func (b *Builders) Launch(ctx context.Context, run, script string) (string, error) {
	there, err := b.list(ctx, inventory.Filter("tag:"+RunTag, run), inventory.Filter("instance-state-name", "pending", "running"))
	if err != nil || len(there) > 0 {
		if len(there) > 0 {
			return aws.ToString(there[0].InstanceId), nil
		}
		return "", err
	}
	var last error
	for _, spot := range []bool{true, false} {
		if spot && !b.Spec.Spot {
			continue
		}
		for _, kind := range b.Spec.Types {
			in := b.input(run, script, kind, spot)
			var out *ec2.RunInstancesOutput
			last = retry.Call(ctx, "ec2:RunInstances", retry.Policy{}, func(ctx context.Context) (err error) {
				out, err = b.EC2.RunInstances(ctx, in)
				return err
			})
			if last == nil {
				return aws.ToString(out.Instances[0].InstanceId), nil
			}
			if !slices.Contains(noCapacity, retry.Code(last)) {
				return "", fmt.Errorf("starting a machine for run %s: %w", run, last)
			}
		}
	}
	return "", fault.New(fault.Quota, fmt.Errorf("starting a machine for run %s: nothing of %v is to be had: %w", run, b.Spec.Types, last), "it is tried again; other types may help")
}

func (b *Builders) input(run, script, kind string, spot bool) *ec2.RunInstancesInput {
	s := b.Spec
	tags := []types.Tag{{Key: aws.String("Name"), Value: aws.String("ingot " + run)}, {Key: aws.String(RunTag), Value: &run}, {Key: aws.String(StackTag), Value: &s.Stack}}
	for k, v := range s.Tags {
		tags = append(tags, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	in := &ec2.RunInstancesInput{
		ImageId: &s.Image, InstanceType: types.InstanceType(kind), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		UserData:                          aws.String(base64.StdEncoding.EncodeToString([]byte(script))),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		MetadataOptions:                   &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(1)},
		TagSpecifications:                 []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: tags}, {ResourceType: types.ResourceTypeVolume, Tags: tags}},
	}
	if s.Subnet != "" {
		in.SubnetId = &s.Subnet
	}
	if s.Group != "" {
		in.SecurityGroupIds = []string{s.Group}
	}
	if s.Role != "" {
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: &s.Role}
	}
	if s.Root != "" {
		in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: &s.Root, Ebs: &types.EbsBlockDevice{VolumeSize: &s.Disk, VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true), Encrypted: aws.Bool(true)}}}
	}
	if spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
	}
	return in
}

// Dismiss terminates the machines of a run.
func (b *Builders) Dismiss(ctx context.Context, run string) error {
	_, err := b.terminate(ctx, inventory.Filter("tag:"+RunTag, run))
	return err
}

// All terminates every machine of the deployment.
func (b *Builders) All(ctx context.Context) (ids []string, err error) { return b.terminate(ctx) }

// Reap terminates the machines whose runs are over, and those older than most, and returns the runs that lost their machine to
// somebody who pays more. alive are the names of the runs that are going on.
func (b *Builders) Reap(ctx context.Context, now time.Time, most time.Duration, alive []string) (ended, bereft []string, err error) {
	all, err := b.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	has := map[string]bool{}
	for _, i := range all {
		run, age := inventory.Tag(i.Tags, RunTag), now.Sub(aws.ToTime(i.LaunchTime))
		switch {
		case i.State.Name == types.InstanceStateNameTerminated || i.State.Name == types.InstanceStateNameShuttingDown:
			if i.StateReason != nil && aws.ToString(i.StateReason.Code) == "Server.SpotInstanceTermination" && slices.Contains(alive, run) {
				bereft = append(bereft, run)
			}
		case slices.Contains(alive, run) && age < most:
			has[run] = true
		case age > youth: // what EC2 lists may be younger than the list of runs
			ended = append(ended, aws.ToString(i.InstanceId))
		}
	}
	bereft = slices.DeleteFunc(bereft, func(run string) bool { return has[run] })
	slices.Sort(bereft)
	return ended, slices.Compact(bereft), b.end(ctx, ended)
}

// youth is how old a machine has to be for the reaper to take it.
const youth = 5 * time.Minute

func (b *Builders) terminate(ctx context.Context, filters ...types.Filter) (ids []string, err error) {
	all, err := b.list(ctx, append(filters, inventory.Filter("instance-state-name", "pending", "running", "stopping", "stopped"))...)
	for _, i := range all {
		ids = append(ids, aws.ToString(i.InstanceId))
	}
	if err != nil {
		return nil, err
	}
	return ids, b.end(ctx, ids)
}

func (b *Builders) end(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	err := retry.Call(ctx, "ec2:TerminateInstances", retry.Policy{}, func(ctx context.Context) error {
		_, err := b.EC2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
		return err
	})
	if err != nil {
		return fmt.Errorf("terminating %v: %w", ids, err)
	}
	return nil
}

func (b *Builders) list(ctx context.Context, filters ...types.Filter) ([]types.Instance, error) {
	all, err := inventory.ListInstances(ctx, b.EC2, append(filters, inventory.Filter("tag:"+StackTag, b.Spec.Stack))...)
	if err != nil {
		return nil, fmt.Errorf("looking for the machines of %s: %w", b.Spec.Stack, err)
	}
	return all, nil
}
