package builder

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/region/faults"
)

const (
	home   = "us-east-1"
	script = "#!/bin/sh\n"
)

// open returns the machines of a deployment in a local region.
func open(t *testing.T) (*Builders, *cloudtest.Cloud) {
	t.Helper()
	c := cloudtest.NewWith(t, cloudtest.NewGuests(t), home)
	results, err := publish.Publish(t.Context(), c.Clients, c.Request("base"))
	if err != nil {
		t.Fatal(err)
	}
	return New(c.Clients.Config(home), Spec{Stack: "ingot", Image: results[0].ImageID, Types: []string{"c7i.large", "m7i.large"}, Spot: true}), c
}

// machines lists what runs, such as "spot c7i.large".
func machines(t *testing.T, c *cloudtest.Cloud) (all []string) {
	t.Helper()
	out, err := c.EC2(home).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if i.State.Name == "pending" || i.State.Name == "running" {
				all = append(all, strings.TrimSpace(string(i.InstanceLifecycle)+" "+string(i.InstanceType)))
			}
		}
	}
	slices.Sort(all)
	return all
}

// Where there is no spot machine of any type, the full price is paid; where there is none for it, either, that is an error which may pass.
func TestSpotRefused(t *testing.T) {
	t.Parallel()
	const no = "InsufficientInstanceCapacity"
	for _, c := range []struct {
		name    string
		refused int // calls
		code    string
		want    string // the machine
		kind    fault.Kind
	}{
		{"none", 0, no, "spot c7i.large", fault.Bug},
		{"of the first type", 1, no, "spot m7i.large", fault.Bug},
		{"spot", 2, no, "c7i.large", fault.Bug},
		{"more spot than one may have", 2, "MaxSpotInstanceCountExceeded", "c7i.large", fault.Bug},
		{"all but one", 3, no, "m7i.large", fault.Bug},
		{"all", 4, no, "", fault.Quota},
		{"for another reason", 1, "InvalidParameterValue", "", fault.Input},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, cloud := open(t)
			if c.refused > 0 {
				status := 400
				if c.code == no { // EC2 says so with the status of a server's error
					status = 500
				}
				cloud.Break(faults.Rule{Action: "RunInstances", Calls: c.refused, Error: &faults.Error{Status: status, Code: c.code}})
			}
			id, err := b.Launch(t.Context(), "one", script)
			if (err == nil) != (c.want != "") || err != nil && (fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), "run one")) {
				t.Fatalf("%v (%v)", err, fault.KindOf(err))
			}
			if got := strings.Join(machines(t, cloud), ", "); got != c.want {
				t.Errorf("there is %q", got)
			}
			if err != nil {
				return
			}
			if again, err := b.Launch(t.Context(), "one", script); again != id || err != nil {
				t.Errorf("the same run has %s and %s (%v)", id, again, err)
			}
		})
	}
}

// A run whose spot machine is taken away is bereft until it has another one; one that is over is not.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	b, cloud := open(t)
	reap := func(alive ...string) string {
		t.Helper()
		ended, bereft, err := b.Reap(t.Context(), time.Now(), time.Hour, alive)
		if err != nil || len(ended) > 0 {
			t.Fatal(ended, err)
		}
		return strings.Join(bereft, " ")
	}
	id, err := b.Launch(t.Context(), "one", script)
	if err != nil {
		t.Fatal(err)
	}
	if got := reap("one"); got != "" {
		t.Errorf("bereft of a machine that runs: %s", got)
	}
	cloud.Interrupt(home, id)
	if got := reap("other"); got != "" {
		t.Errorf("bereft, though it is over: %s", got)
	}
	if got := reap("one", "other"); got != "one" {
		t.Errorf("bereft: %s", got)
	}
	next, err := b.Launch(t.Context(), "one", script)
	if err != nil || next == id {
		t.Fatal(next, err)
	}
	if got := reap("one"); got != "" {
		t.Errorf("bereft of the second machine: %s", got)
	}
	if err := b.Dismiss(t.Context(), "one"); err != nil || len(machines(t, cloud)) > 0 {
		t.Errorf("%v, %v", err, machines(t, cloud))
	}
}

// Each action is refused in turn, those too that come with a call of another name: the error says which, and nothing was started.
func TestDenied(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"ec2:DescribeInstances", "ec2:RunInstances", "ec2:CreateTags", "iam:PassRole", "ec2:TerminateInstances"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			b, cloud := open(t)
			service, name, _ := strings.Cut(action, ":")
			rule := faults.Rule{Service: service, Action: name, Denied: true}
			if name == "CreateTags" || name == "PassRole" {
				rule = faults.Rule{Action: "RunInstances", Error: &faults.Error{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. " +
					"User: arn:aws:iam::000000000000:user/test is not authorized to perform: " + action + " on resource: x because no identity-based policy allows the " + action + " action."}}
			}
			cloud.Break(rule)
			_, launching := b.Launch(t.Context(), "one", script)
			if name == "TerminateInstances" {
				if launching != nil {
					t.Fatal(launching)
				}
				launching = b.Dismiss(t.Context(), "one")
			}
			cloud.Break()
			if all := machines(t, cloud); len(all) > 0 && name != "TerminateInstances" {
				t.Errorf("started: %v", all)
			}
			if fault.KindOf(launching) != fault.Denied || !strings.Contains(fault.HintOf(launching), "permission "+action) {
				t.Errorf("%v (%s)", launching, fault.HintOf(launching))
			}
			_, err := b.Launch(t.Context(), "one", script)
			if err := errors.Join(err, b.Dismiss(t.Context(), "one")); err != nil {
				t.Errorf("when it is allowed again: %v", err)
			}
		})
	}
}

// What is launched has tags, a shutdown that ends it, IMDSv2 alone, and the role.
func TestInput(t *testing.T) {
	t.Parallel()
	b := &Builders{Spec: Spec{Stack: "ingot", Image: "ami-1", Role: "builder", Group: "sg-1", Subnet: "subnet-1", Root: "/dev/xvda", Disk: 40}}
	in := b.input("one", script, "c7i.large", true)
	if in.InstanceInitiatedShutdownBehavior != "terminate" || in.MetadataOptions.HttpTokens != "required" || aws.ToString(in.IamInstanceProfile.Name) != "builder" ||
		!aws.ToBool(in.BlockDeviceMappings[0].Ebs.Encrypted) || in.InstanceMarketOptions.MarketType != "spot" || len(in.TagSpecifications) != 2 {
		t.Errorf("%+v", in)
	}
}
