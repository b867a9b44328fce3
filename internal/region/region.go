// Package region is the embedded local region: EC2, EBS direct and S3, spoken over their real wire protocols
// on this machine, so that the code and the tools that publish to AWS work without an AWS account.
//
// One server stands for every region of one account: which region a request is for is read from the scope
// of its signature, as is the service. It is strict: it refuses what AWS refuses, with AWS's error codes,
// and anything it does not model, rather than accept it and do nothing. Snapshots are block files shared
// by content; metadata is a JSON file per object; both survive a restart.
//
// Sources: the Amazon EC2 API reference (version 2016-11-15), the EBS direct APIs reference (2019-11-02), the
// Amazon S3 API reference (2006-03-01), their service models, and Signature Version 4 of the AWS General Reference.
package region

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/renameio/v2"

	"ingot/internal/fault"
	"ingot/internal/region/blocks"
	"ingot/internal/region/faults"
)

// Options say what a Region is.
type Options struct {
	Dir       string   // where its state is kept; made where it is not there
	Regions   []string // the names it answers to; nil: the commercial regions that need no opt-in
	AccessKey string   // the one access key it accepts; "": one made up at the first start and kept in Dir
	SecretKey string   // of AccessKey
	AccountID string   // twelve digits; "": 000000000000
	Machines  Runner   // starts instances; nil: RunInstances is refused as Unsupported
	// NoiseUnwritten makes volumes read as noise where their snapshot was never written, as those of encrypted
	// snapshots do anyway. An image that boots so sends every block that matters.
	NoiseUnwritten bool
	// Quotas are the account's in every region, by their codes at Service Quotas; those of a new account hold for the others.
	Quotas map[string]float64
	// ImagePolicy is the state of block public access for AMIs that a declarative policy of the account's organization
	// sets ("block-new-sharing"); "": the account decides for itself, and has not blocked anything.
	ImagePolicy string
	Now         func() time.Time // the clock; nil: time.Now
	Signed      func() time.Time // the clock that signatures are judged by, since clients know no other; nil: time.Now
	Faults      []faults.Rule    // in force from the start; SetFaults changes them
	FaultsFile  string           // a file of such rules instead, which is followed while the region is open; "": none
	// Watch is called before and after each call whose sender is known, before its reply is sent; the call waits for it. nil: nobody.
	Watch func(Event)
	Log   *slog.Logger // a line per request; nil: none
}

// Region is the server. It is an http.Handler; whoever serves it must listen on loopback alone.
type Region struct {
	opt    Options
	lock   *os.File
	blocks *blocks.Store
	s3     *s3Store
	keygen sync.Mutex // held while the key for bundles is made
	secret []byte     // keys the tokens that clients hand back
	areas  map[string]*area
	faults *faults.Set

	ctx    context.Context // of everything that outlives a request
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// area is one region of the account: what is in it, guarded by one lock.
type area struct {
	r    *Region
	name string

	mu        sync.Mutex
	images    *table[image]
	snapshots *table[snapshot]
	keys      *table[keyPair]
	instances *table[instance]
	volumes   *table[volume]
	groups    *table[securityGroup]
	templates *table[launchTemplate]
	config    *table[settings]

	parameters *table[parameter]
	reports    *table[usageReport]

	effect faults.Effect        // on the call that holds mu
	hidden map[string]time.Time // what is not seen yet, by id, and until when
	stale  map[string]staleImage
}

// identity is what Dir/identity.json holds: secrets that stay the same over restarts.
type identity struct {
	AccessKey, SecretKey string
	TokenSecret          []byte
}

// Open opens the state in opt.Dir. It fails with fault.Exists while another process has it open. Cancelling
// ctx ends the instances; Close does too, and waits for them.
func Open(ctx context.Context, opt Options) (*Region, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Signed == nil {
		opt.Signed = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.AccountID == "" {
		opt.AccountID = "000000000000"
	}
	if opt.Regions == nil {
		opt.Regions = defaultRegions()
	}
	r := &Region{opt: opt, areas: map[string]*area{}, faults: faults.New(opt.Now)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.open(); err != nil {
		r.cancel()
		r.work.Wait()
		if r.lock != nil {
			r.lock.Close()
		}
		return nil, fmt.Errorf("opening local region in %s: %w", opt.Dir, err)
	}
	return r, nil
}

func (r *Region) open() (err error) {
	if err := r.startFaults(); err != nil {
		return err
	}
	dir := r.opt.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if r.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := syscall.Flock(int(r.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fault.New(fault.Exists, errors.New("another process has it open"),
			"stop the other `ingot region`, or keep this one's state elsewhere with --state")
	}
	if err := r.identify(); err != nil {
		return err
	}
	if r.blocks, err = blocks.Open(filepath.Join(dir, "blocks")); err != nil {
		return err
	}
	if r.s3, err = openS3(filepath.Join(dir, "s3")); err != nil {
		return err
	}
	for _, name := range r.opt.Regions {
		if !known(name) {
			return fault.Newf(fault.Usage, "%q is not the name of a region", name)
		}
		if r.areas[name], err = r.openArea(name); err != nil {
			return err
		}
	}
	missing, err := r.blocks.Sweep()
	if err != nil {
		return err
	}
	for _, a := range r.areas {
		if err := a.afterSweep(missing); err != nil {
			return err
		}
	}
	return nil
}

// identify reads the identity file, or makes it.
func (r *Region) identify() error {
	var id identity
	path := filepath.Join(r.opt.Dir, "identity.json")
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &id); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
	case errors.Is(err, os.ErrNotExist):
		id = identity{AccessKey: "AKIA" + rand.Text()[:16], SecretKey: (rand.Text() + rand.Text())[:40], TokenSecret: []byte(rand.Text())}
		data, err := json.MarshalIndent(id, "", " ")
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	default:
		return err
	}
	if r.opt.AccessKey == "" {
		r.opt.AccessKey, r.opt.SecretKey = id.AccessKey, id.SecretKey
	}
	r.secret = id.TokenSecret
	return nil
}

func (r *Region) openArea(name string) (*area, error) {
	a := &area{r: r, name: name, hidden: map[string]time.Time{}, stale: map[string]staleImage{}}
	dir := filepath.Join(r.opt.Dir, name)
	var err error
	if a.images, err = openTable[image](dir, "ami-"); err != nil {
		return nil, err
	}
	if a.snapshots, err = openTable[snapshot](dir, "snap-"); err != nil {
		return nil, err
	}
	if a.keys, err = openTable[keyPair](dir, "key-"); err != nil {
		return nil, err
	}
	if a.instances, err = openTable[instance](dir, "i-"); err != nil {
		return nil, err
	}
	if a.volumes, err = openTable[volume](dir, "vol-"); err != nil {
		return nil, err
	}
	if a.groups, err = openTable[securityGroup](dir, "sg-"); err != nil {
		return nil, err
	}
	a.addDefaultGroup()
	if a.templates, err = openTable[launchTemplate](dir, "lt-"); err != nil {
		return nil, err
	}
	if a.config, err = openTable[settings](dir, settingsFile); err != nil {
		return nil, err
	}
	if a.parameters, err = openTable[parameter](dir, parameterPrefix); err != nil {
		return nil, err
	}
	if a.reports, err = openTable[usageReport](dir, "amiur-"); err != nil {
		return nil, err
	}
	a.images.changing = a.changeSeen
	a.snapshots.changing = func(id string, old *snapshot) { a.hide(id, old == nil) }
	a.volumes.changing = func(id string, old *volume) { a.hide(id, old == nil) }
	a.parameters.changing = func(id string, old *parameter) { a.hide(id, old == nil) }
	for _, s := range a.snapshots.rows {
		if err := s.load(a); err != nil {
			return nil, err
		}
	}
	for _, v := range a.volumes.rows {
		if err := v.load(a); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// afterSweep puts right what a killed server or a power cut left behind.
func (a *area) afterSweep(missing map[blocks.Sum]bool) error {
	for _, s := range a.snapshots.rows {
		halfRead := s.State == statePending && s.Volume != "" && s.Ready.IsZero()
		if s.State != stateError && (s.lost(missing) || halfRead) {
			s.State = stateError
			if err := a.snapshots.put(s.ID, s); err != nil {
				return err
			}
		}
	}
	for _, v := range a.volumes.rows {
		if v.lost(missing) && v.State != stateError {
			v.State = stateError
			if err := a.volumes.put(v.ID, v); err != nil {
				return err
			}
		}
	}
	for _, i := range a.images.rows {
		if i.State == statePending && i.Ready.IsZero() {
			a.examine(i)
		}
	}
	for _, i := range a.instances.rows {
		if i.State != stateTerminated && i.State != stateStopped {
			if err := a.salvage(i); err != nil {
				return err
			}
		}
	}
	for _, v := range a.volumes.rows {
		if v.Attachment == nil {
			continue
		}
		i := a.instances.rows[v.Attachment.Instance]
		if i == nil { // its launch never came as far as that
			i = &instance{ID: v.Attachment.Instance, State: stateTerminated}
		}
		if i.State == stateTerminated {
			a.release(i)
		}
	}
	return nil
}

// salvage ends an instance that a server left behind which was killed: what its machine wrote is in the files beside it.
func (a *area) salvage(i *instance) error {
	l := &live{dir: filepath.Join(a.r.opt.Dir, "instances", i.ID)}
	a.collect(i, l)
	if i.Location == "" && a.root(i) == nil { // there is nothing that it could be started from
		i.State, i.ReasonCode, i.Reason = stateShuttingDown, "Server.InternalError", "Server.InternalError: its root volume is lost"
	}
	a.interrupted(i)
	for _, v := range a.attached(i) {
		detaching := v.Attachment.State == stateDetaching
		v.Attachment.State = stateAttached
		if detaching {
			if err := a.letGo(v); err != nil {
				return err
			}
		}
		if err := a.volumes.put(v.ID, v); err != nil {
			return err
		}
	}
	return errors.Join(a.instances.put(i.ID, i), os.RemoveAll(l.dir))
}

// Credentials returns the key pair that the region accepts.
func (r *Region) Credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: r.opt.AccessKey, SecretAccessKey: r.opt.SecretKey, Source: "ingot local region",
		AccountID: r.opt.AccountID}
}

// Regions returns the names that the region answers to.
func (r *Region) Regions() []string { return r.opt.Regions }

// Close ends the instances, waits for them, and gives up the state directory. Requests must have ended.
func (r *Region) Close() error {
	r.cancel()
	r.work.Wait()
	var errs []error
	for _, a := range r.areas {
		for _, s := range a.snapshots.rows {
			errs = append(errs, s.close())
		}
	}
	return errors.Join(append(errs, r.lock.Close())...)
}

// readBody reads at most limit bytes; one more makes ok false.
func readBody(body io.Reader, into []byte) (data []byte, ok bool, err error) {
	n, err := io.ReadFull(body, into)
	switch {
	case err == nil: // the buffer is one byte larger than the limit
		return nil, false, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return into[:n], true, nil
	}
	return nil, false, err
}
