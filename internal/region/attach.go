package region

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

const (
	// maxVolumes is how many volumes an instance can have beside the one that it boots from: each takes a slot of the machine's bus.
	maxVolumes = 8
	plugLimit  = time.Minute      // for a machine to take a volume
	askAgain   = 20 * time.Second // for a guest to let go of one, before it is asked again
)

type attachVolumeIn struct {
	dryRun
	Device   string `q:"Device"`
	Instance string `q:"InstanceId"`
	Volume   string `q:"VolumeId"`
}

type attachmentOut struct {
	reply
	volumeAttachmentXML
}

func (a *area) attachVolume(in *attachVolumeIn) (*attachmentOut, error) {
	switch {
	case in.Volume == "":
		return nil, missing("volumeId")
	case in.Instance == "":
		return nil, missing("instanceId")
	case in.Device == "":
		return nil, missing("device")
	}
	v, err := a.volume(in.Volume)
	if err != nil {
		return nil, err
	}
	i, err := a.instance(in.Instance)
	if err != nil {
		return nil, err
	}
	others := a.attached(i)
	switch {
	case !deviceName.MatchString(in.Device):
		return nil, errorf("InvalidParameterValue", "Value (%.60s) for parameter device is invalid. %.60s is not a valid EBS device name.", in.Device, in.Device)
	case v.Attachment != nil:
		return nil, errorf("VolumeInUse", "%s is already attached to an instance", v.ID)
	case v.State != stateAvailable:
		return nil, errorf("IncorrectState", "%s is not 'available'.", v.ID)
	case i.State != stateRunning && i.State != stateStopped:
		return nil, errorf("IncorrectState", "Instance '%s' is not 'running'.", i.ID)
	case v.Zone != i.Zone:
		return nil, errorf("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.ID, i.ID)
	case i.Location != "":
		return nil, errorf("UnsupportedOperation", "The local region attaches no volumes to instances whose root is instance store")
	case len(others) > maxVolumes:
		return nil, errorf("AttachmentLimitExceeded", "The instance %s has %d volumes, and the local region attaches no more", i.ID, len(others))
	}
	for _, o := range others {
		if o.Attachment.Device == in.Device {
			return nil, errorf("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", in.Device, in.Device)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	next, t := *v, &attachment{Instance: i.ID, Device: in.Device, State: stateAttaching, Attached: a.r.opt.Now()}
	next.State, next.Attachment = stateInUse, t
	out := &attachmentOut{volumeAttachmentXML: next.attachmentXML()} // so it answers, however fast it is attached
	if i.State == stateStopped {
		t.State = stateAttached
	}
	if err := set(a.volumes, v.ID, v, v, next); err != nil {
		return nil, err
	}
	if live := i.live; i.State != stateStopped {
		a.r.work.Go(func() { a.plug(live, v, t) })
	}
	return out, nil
}

// plug gives a volume to a running machine.
func (a *area) plug(l *live, v *volume, t *attachment) {
	err := a.lend(l, v)
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.Attachment != t || t.State != stateAttaching { // the instance has ended, or it is being detached
		return
	}
	t.State = stateAttached
	if err != nil {
		err = errors.Join(err, a.letGo(v))
	} else {
		err = a.volumes.put(v.ID, v)
	}
	if err != nil {
		a.r.opt.Log.Error("attaching a volume", "volume", v.ID, "error", err)
	}
}

// lend makes a volume a file and plugs it into the machine, if that still runs.
func (a *area) lend(l *live, v *volume) error {
	l.ops.Lock()
	defer l.ops.Unlock()
	if l.machine == nil {
		return nil
	}
	path := l.path(v)
	err := a.materialize(l.ctx, v, path)
	if err == nil {
		ctx, cancel := context.WithTimeout(l.ctx, plugLimit)
		defer cancel()
		err = l.machine.Attach(ctx, Disk{v.ID, path})
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// materialize makes a volume a raw image.
func (a *area) materialize(ctx context.Context, v *volume, path string) error {
	a.mu.Lock()
	img := a.contents(v)
	a.mu.Unlock()
	defer img.release()
	return img.write(ctx, path)
}

// takeBack stores what a machine has made of a volume's raw image, and removes that. A volume for which this fails is in error.
func (a *area) takeBack(v *volume, path string) {
	a.mu.Lock()
	img := a.contents(v)
	a.mu.Unlock()
	defer img.release()
	after, err := img.read(context.Background(), path) // also while the region is closed: this is what the guest wrote
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		err = a.fill(v, after)
	}
	if err != nil {
		v.State = stateError
		err = errors.Join(err, a.volumes.put(v.ID, v))
	}
	if err = errors.Join(err, os.Remove(path)); err != nil {
		a.r.opt.Log.Error("storing what is on a volume", "volume", v.ID, "error", err)
	}
}

// path is where a volume's raw image is while the machine has it.
func (l *live) path(v *volume) string { return filepath.Join(l.dir, v.ID+rawExt) }

const rawExt = ".raw"

type detachVolumeIn struct {
	dryRun
	Device   string `q:"Device"`
	Force    bool   `q:"Force"`
	Instance string `q:"InstanceId"`
	Volume   string `q:"VolumeId"`
}

func (a *area) detachVolume(in *detachVolumeIn) (*attachmentOut, error) {
	if in.Volume == "" {
		return nil, missing("volumeId")
	}
	v, err := a.volume(in.Volume)
	if err != nil {
		return nil, err
	}
	if in.Instance != "" {
		if _, err := a.instance(in.Instance); err != nil {
			return nil, err
		}
	}
	t := v.Attachment
	switch {
	case t == nil:
		return nil, errorf("IncorrectState", "Volume '%s' is in the '%s' state.", v.ID, v.State)
	case in.Instance != "" && in.Instance != t.Instance, in.Device != "" && in.Device != t.Device:
		return nil, errorf("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%.60s' as device '%.60s'.", v.ID, in.Instance, in.Device)
	}
	i := a.instances.rows[t.Instance]
	switch {
	case i.State != stateStopped && t.Device == i.RootDevice:
		return nil, errorf("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", v.ID, i.ID)
	case i.State != stateStopped && i.State != stateRunning || t.State == stateAttaching:
		return nil, errorf("IncorrectState", "The instance '%s' is %s, and the volume %s.", i.ID, i.State, t.State)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	out := &attachmentOut{volumeAttachmentXML: v.attachmentXML()}
	out.Status = stateDetaching
	switch {
	case i.State == stateStopped:
		return out, set(a.volumes, v.ID, v, v, v.alone())
	case t.State == stateAttached: // and not asked for before
		if err := set(a.volumes, v.ID, v, &t.State, stateDetaching); err != nil {
			return nil, err
		}
		live := i.live
		a.r.work.Go(func() { a.unplug(live, v, t) })
	}
	return out, nil
}

// unplug takes a volume from a running machine, once its guest lets go of it or the machine ends.
func (a *area) unplug(l *live, v *volume, t *attachment) {
	for {
		err := a.regain(l, v)
		if err == nil {
			break
		}
		a.r.opt.Log.Info("detaching a volume", "volume", v.ID, "error", err)
		wait(l.ctx, time.Second)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.Attachment != t { // it went with the instance
		return
	}
	if err := a.letGo(v); err != nil {
		a.r.opt.Log.Error("recording a volume", "volume", v.ID, "error", err)
	}
}

// regain asks the guest to let go of a volume, and stores what is on it.
func (a *area) regain(l *live, v *volume) error {
	l.ops.Lock()
	defer l.ops.Unlock()
	if l.machine == nil { // it has ended, and what it had was stored then
		return nil
	}
	ctx, cancel := context.WithTimeout(l.ctx, askAgain)
	defer cancel()
	if err := l.machine.Detach(ctx, v.ID); err != nil {
		return err
	}
	a.takeBack(v, l.path(v))
	return nil
}
