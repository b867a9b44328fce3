// Package smoke launches an image in the cloud that it was published to, judges how it boots, and ends it, whatever happens.
package smoke

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
	"ingot/internal/verify"
)

// EC2 are the calls that a smoke launch makes, each a permission that it needs.
type EC2 interface {
	ImportKeyPair(context.Context, *ec2.ImportKeyPairInput, ...func(*ec2.Options)) (*ec2.ImportKeyPairOutput, error)
	DeleteKeyPair(context.Context, *ec2.DeleteKeyPairInput, ...func(*ec2.Options)) (*ec2.DeleteKeyPairOutput, error)
	RunInstances(context.Context, *ec2.RunInstancesInput, ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	DescribeInstanceStatus(context.Context, *ec2.DescribeInstanceStatusInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceStatusOutput, error)
	GetConsoleOutput(context.Context, *ec2.GetConsoleOutputInput, ...func(*ec2.Options)) (*ec2.GetConsoleOutputOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// Clients gives the configurations of regions; publish.Clients is one.
type Clients interface {
	Config(region string) aws.Config
	Account(ctx context.Context, region string) (string, error)
}

// Life is how long what a smoke launch makes is left in peace by `ingot gc`.
const Life = 2 * time.Hour

const (
	defaultLimit = 20 * time.Minute // from the launch until the status checks pass
	loginLimit   = 3 * time.Minute
	endLimit     = 2 * time.Minute // for ending it, after the run was stopped, too
	firstPause   = time.Second
	longestPause = 10 * time.Second
	sshPort      = "22"
	localPort    = "ingot:ssh-port" // tag of instances in the local region whose SSH is elsewhere
)

// Launch says what to launch, and how.
type Launch struct {
	Clients Clients
	Ledger  publish.Ledger
	Region  string
	ImageID string
	Image   string // its name
	Arch    string // x86_64 or arm64
	Release string
	RunID   string // what an earlier, killed launch of the same run and image has left is ended first

	Type   string        // of the instance; "": t3.micro, or t4g.micro
	Subnet string        // "": the default one
	User   string        // to log in as, where port 22 can be reached; "": nobody logs in
	Legacy bool          // its SSH server is of the age of CentOS 6
	Port   string        // of SSH; "": 22
	Allow  []string      // names of console rules that may be broken
	Limit  time.Duration // until the status checks pass; 0: 20 minutes

	Now  func() time.Time // nil: time.Now
	Task *progress.Task   // may be nil
}

// Verdict is what became of a launch.
type Verdict struct {
	Region   string           `json:"region"`
	ImageID  string           `json:"image_id"`
	Instance string           `json:"instance_id"`
	Passed   bool             `json:"passed"`
	Reason   string           `json:"reason,omitempty"` // why it did not
	Findings []verify.Finding `json:"findings,omitempty"`
	Login    string           `json:"login"` // "passed", or why nobody has logged in
	Seconds  float64          `json:"seconds"`
	Console  string           `json:"-"`
}

// Run launches the image, waits for EC2's status checks, judges its console, and logs in where it can be reached from here; that it
// cannot be is no failure. The instance and its key pair are always removed; where that fails, the ledger and their tags lead `ingot
// gc` to them, and the error says so. An image that does not boot is a Verdict, not an error.
func (l Launch) Run(ctx context.Context) (*Verdict, error) {
	if l.Now == nil {
		l.Now = time.Now
	}
	r := &run{Launch: l, client: ec2.NewFromConfig(l.Clients.Config(l.Region)), begun: l.Now()}
	v, err := r.run(ctx)
	if err != nil {
		err = fmt.Errorf("launching %s in %s: %w", l.ImageID, l.Region, err)
	}
	return v, err
}

type run struct {
	Launch
	client  EC2
	account string
	begun   time.Time
	key     *verify.Key
}

func (r *run) run(ctx context.Context) (v *Verdict, err error) {
	if r.account, err = r.Clients.Account(ctx, r.Region); err != nil {
		return nil, err
	}
	if err := r.end(ctx, ""); err != nil { // what an earlier process has left
		return nil, err
	}
	v = &Verdict{Region: r.Region, ImageID: r.ImageID, Login: "nobody has tried"}
	defer func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
		defer cancel()
		if e := r.end(limit, v.Instance); e != nil {
			err = errors.Join(err, fault.New(fault.KindOf(e), fmt.Errorf("the instance may run still: %w", e), "`ingot gc` ends it when it has expired"))
		}
		v.Seconds = r.Now().Sub(r.begun).Seconds()
	}()
	if err := r.importKey(ctx); err != nil {
		return v, err
	}
	if v.Instance, err = r.launch(ctx); err != nil {
		return v, err
	}
	i, reason, err := r.await(ctx, v.Instance)
	if err != nil {
		return v, err
	}
	if v.Console, err = r.console(ctx, v.Instance); err != nil {
		return v, err
	}
	var broken string
	if v.Findings, broken = verify.Judge(v.Console, r.Allow); broken != "" && reason == "" {
		reason = broken
	}
	if reason == "" {
		v.Login, reason = r.login(ctx, i)
	}
	v.Passed, v.Reason = reason == "", reason
	return v, ctx.Err()
}

func (r *run) entry(kind ledger.Kind, name string) ledger.Entry {
	return ledger.Entry{Key: ledger.Key{Kind: kind, Account: r.account, Region: r.Region, Name: name}, Run: r.RunID, Release: r.Release, Image: r.Image,
		Expires: r.begun.Add(Life).UTC().Truncate(time.Second)}
}

// tagged gives a resource the tags by which it is found again.
func (r *run) tagged(kind types.ResourceType) []types.TagSpecification {
	var tags []types.Tag
	for key, value := range map[string]string{"Name": "ingot smoke launch of " + r.Image, publish.TagRun: r.RunID, publish.TagImage: r.Image,
		publish.TagExpires: r.begun.Add(Life).UTC().Truncate(time.Second).Format(time.RFC3339)} {
		tags = append(tags, types.Tag{Key: &key, Value: &value})
	}
	return []types.TagSpecification{{ResourceType: kind, Tags: tags}}
}

// keyName is the name of the key pair: the same whenever this image is launched for this run, so that a process finds what another one
// has left that was killed, on another machine, too.
func (r *run) keyName() string {
	sum := sha256.Sum256([]byte(r.RunID + "\x00" + r.Image))
	return fmt.Sprintf("ingot-smoke-%x", sum[:16])
}

// importKey gives the region a key whose private half is in memory alone.
func (r *run) importKey(ctx context.Context) (err error) {
	if r.key, err = verify.NewKey(r.Legacy); err != nil {
		return err
	}
	name := r.keyName()
	e := r.entry(ledger.KeyPair, name)
	if _, err := r.Ledger.Intend(ctx, e); err != nil {
		return err
	}
	err = retry.Call(ctx, "ec2:ImportKeyPair", retry.Policy{}, func(ctx context.Context) error {
		_, err := r.client.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{KeyName: &name, PublicKeyMaterial: []byte(r.key.Authorized()),
			TagSpecifications: r.tagged(types.ResourceTypeKeyPair)})
		if retry.Code(err) == "InvalidKeyPair.Duplicate" { // of an attempt whose reply was lost: what was there before has been deleted
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.Ledger.Made(ctx, e.Key, name)
}

func (r *run) launch(ctx context.Context) (id string, err error) {
	kind := cmp.Or(r.Type, map[string]string{"arm64": "t4g.micro"}[r.Arch], "t3.micro")
	key, token := r.keyName(), rand.Text()
	e := r.entry(ledger.Instance, token)
	if _, err := r.Ledger.Intend(ctx, e); err != nil {
		return "", err
	}
	in := &ec2.RunInstancesInput{ImageId: &r.ImageID, InstanceType: types.InstanceType(kind), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: &token,
		KeyName: &key, InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate, TagSpecifications: r.tagged(types.ResourceTypeInstance)}
	if r.Subnet != "" {
		in.SubnetId = &r.Subnet
	}
	var out *ec2.RunInstancesOutput
	err = retry.Call(ctx, "ec2:RunInstances", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) (err error) {
		out, err = r.client.RunInstances(ctx, in)
		return err
	})
	if err != nil {
		return "", err
	}
	if len(out.Instances) == 0 {
		return "", fault.Newf(fault.Unreachable, "ec2:RunInstances: no instance came back")
	}
	id = aws.ToString(out.Instances[0].InstanceId)
	return id, r.Ledger.Made(ctx, e.Key, id)
}

// await waits until the instance passes the status checks. reason says why it does not.
func (r *run) await(ctx context.Context, id string) (i *types.Instance, reason string, err error) {
	limit, cancel := context.WithTimeout(ctx, cmp.Or(r.Limit, defaultLimit))
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		all, err := inventory.ListInstances(limit, r.client, inventory.Filter("instance-id", id))
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case err != nil && limit.Err() == nil:
			return nil, "", err
		case len(all) > 0:
			i = &all[0]
			if s := i.State.Name; s != types.InstanceStateNamePending && s != types.InstanceStateNameRunning {
				why := ""
				if i.StateReason != nil {
					why = ": " + aws.ToString(i.StateReason.Message)
				}
				return i, fmt.Sprintf("the instance is %s%s", s, why), nil
			}
			ok, err := r.reachable(limit, id)
			if err != nil && limit.Err() == nil {
				return i, "", err
			}
			if ok {
				return i, "", nil
			}
		}
		if retry.Sleep(limit, pause) != nil {
			if ctx.Err() != nil {
				return i, "", context.Cause(ctx)
			}
			return i, fmt.Sprintf("the instance does not pass EC2's status checks within %s", cmp.Or(r.Limit, defaultLimit)), nil
		}
	}
}

// reachable says whether both of EC2's status checks pass.
func (r *run) reachable(ctx context.Context, id string) (bool, error) {
	var out *ec2.DescribeInstanceStatusOutput
	err := retry.Call(ctx, "ec2:DescribeInstanceStatus", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) (err error) {
		out, err = r.client.DescribeInstanceStatus(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: []string{id}})
		return err
	})
	if err != nil || len(out.InstanceStatuses) == 0 {
		return false, err
	}
	s := out.InstanceStatuses[0]
	return s.InstanceStatus != nil && s.InstanceStatus.Status == types.SummaryStatusOk && s.SystemStatus != nil && s.SystemStatus.Status == types.SummaryStatusOk, nil
}

// console returns what the instance has printed.
func (r *run) console(ctx context.Context, id string) (string, error) {
	var out *ec2.GetConsoleOutputOutput
	err := retry.Call(ctx, "ec2:GetConsoleOutput", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = r.client.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: &id})
		return err
	})
	if err != nil {
		return "", err
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	if err != nil {
		return "", fault.Newf(fault.Unreachable, "reading the console of %s: %w", id, err)
	}
	return string(text), nil
}

// login logs in. Where port 22 cannot be reached from here, which says nothing about the image, nobody does.
func (r *run) login(ctx context.Context, i *types.Instance) (said, reason string) {
	host := aws.ToString(i.PublicIpAddress)
	switch {
	case r.User == "":
		return "no user is named", ""
	case host == "":
		return "it has no public address", ""
	}
	addr := net.JoinHostPort(host, cmp.Or(r.Port, inventory.Tag(i.Tags, localPort), sshPort))
	limit, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(limit, "tcp", addr)
	if err != nil {
		return "port 22 cannot be reached from here", ""
	}
	c.Close()
	if err := r.key.Login(limit, addr, r.User, r.Legacy); err != nil {
		return "failed", err.Error()
	}
	return "passed", ""
}

// end ends what this run has launched of the image: the instance of an id, what else its tags lead to, and its key pairs.
func (r *run) end(ctx context.Context, id string) error {
	all, err := inventory.ListInstances(ctx, r.client, inventory.Filter("tag:"+publish.TagRun, r.RunID), inventory.Filter("tag:"+publish.TagImage, r.Image))
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	if id != "" {
		ids[id] = true
	}
	for _, i := range all {
		if i.State.Name != types.InstanceStateNameTerminated {
			ids[aws.ToString(i.InstanceId)] = true
		}
	}
	for id := range ids {
		err := retry.Call(ctx, "ec2:TerminateInstances", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := r.client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
			return err
		})
		if err != nil && retry.Code(err) != "InvalidInstanceID.NotFound" {
			return err
		}
	}
	key := r.keyName() // one that is not there is no error
	err = retry.Call(ctx, "ec2:DeleteKeyPair", retry.Policy{}, func(ctx context.Context) error {
		_, err := r.client.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: &key})
		return err
	})
	if err != nil {
		return err
	}
	entries, err := r.Ledger.List(ctx, ledger.Filter{Account: r.account, Region: r.Region})
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Run == r.RunID && e.Image == r.Image && (e.Kind == ledger.Instance || e.Kind == ledger.KeyPair) {
			if err := r.Ledger.Gone(ctx, e.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
