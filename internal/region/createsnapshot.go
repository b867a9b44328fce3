package region

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"ingot/internal/region/blocks"
	"ingot/internal/region/faults"
)

type createSnapshotIn struct {
	dryRun
	Description string    `q:"Description"`
	Volume      string    `q:"VolumeId"`
	Specs       []tagSpec `q:"TagSpecification"`
}

type createSnapshotOut struct {
	reply
	snapshotXML
}

func (a *area) createSnapshot(in *createSnapshotIn) (*createSnapshotOut, error) {
	if in.Volume == "" {
		return nil, missing("volumeId")
	}
	v, err := a.volume(in.Volume)
	if err != nil {
		return nil, err
	}
	tags, err := specTags(in.Specs, "snapshot")
	if err != nil {
		return nil, err
	}
	if err := a.canShoot(in.Description, v); err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	all, err := a.shoot(in.Description, tags["snapshot"], nil, v)
	if err != nil {
		return nil, err
	}
	return &createSnapshotOut{snapshotXML: all[0]}, nil
}

// canShoot says whether snapshots can be made of volumes now.
func (a *area) canShoot(description string, volumes ...*volume) error {
	if len(description) > 255 {
		return errorf("InvalidParameterValue", "The description is longer than 255 characters")
	}
	for _, v := range volumes {
		if v.State != stateAvailable && v.State != stateInUse {
			return errorf("IncorrectState", "The volume '%s' is in the state '%s'.", v.ID, v.State)
		}
	}
	pending := len(volumes)
	for id := range a.snapshots.rows {
		if a.snapshot(id).State == statePending {
			pending++
		}
	}
	switch {
	case len(a.snapshots.rows)+len(volumes) > a.quota(quotaSnapshots):
		return errorf("SnapshotLimitExceeded", "The region has as many snapshots as the account may have there")
	case pending > a.quota(quotaPendingSnapshots):
		return errorf("PendingSnapshotLimitExceeded", "There are too many pending snapshots")
	}
	return nil
}

// shoot makes snapshots of volumes: at once of what is in the store, in the background of what a machine has. All that one machine
// has is of the same moment.
func (a *area) shoot(description string, tags map[string]string, tagsOf func(*volume) map[string]string, volumes ...*volume) (all []snapshotXML, err error) {
	running := map[*live][]*shot{}
	var made []*snapshot
	for _, v := range volumes {
		s := a.newSnapshot(v.Size)
		s.Description, s.Volume, s.Lineage, s.Encrypted, s.KmsKey = description, v.ID, v.Lineage, v.Encrypted, v.KmsKey
		if tagsOf != nil {
			maps.Copy(s.Tags, tagsOf(v))
		}
		maps.Copy(s.Tags, tags)
		x := a.snapshotXML(s)
		x.Progress = "" // so it answers
		all = append(all, x)
		to := s.stage
		if l := a.machineOf(v); l != nil {
			running[l] = append(running[l], &shot{s, v})
		} else {
			a.r.blocks.HoldAll(maps.Values(v.blocks))
			err, to = s.take(a, maps.Clone(v.blocks)), a.whole(to, a.effect)
		}
		if err == nil {
			err = a.keep(s, to)
		}
		if err != nil {
			for _, s := range made { // it makes all of them, or none
				err = errors.Join(err, a.removeSnapshot(s))
			}
			return nil, err
		}
		made = append(made, s)
	}
	for l, shots := range running {
		effect := a.effect
		a.r.work.Go(func() { a.expose(l, shots, effect) })
	}
	return all, nil
}

// shot is a snapshot that is being made of a volume.
type shot struct {
	*snapshot
	volume *volume
}

// machineOf returns the life of the instance whose machine has a volume, or nil.
func (a *area) machineOf(v *volume) *live {
	if v.Attachment == nil {
		return nil
	}
	switch i := a.instances.rows[v.Attachment.Instance]; i.State {
	case stateStopped, stateTerminated:
		return nil
	default:
		return i.live
	}
}

// expose reads volumes from a machine that is paused for it, or from the store once the machine has ended, into their snapshots.
func (a *area) expose(l *live, shots []*shot, effect faults.Effect) {
	l.ops.Lock()
	defer l.ops.Unlock()
	var err error
	if m := l.machine; m != nil {
		err = m.Pause(l.ctx)
		select {
		case <-m.Exited():
			err = nil // what it wrote is in the files
		default:
			defer func() {
				if err := m.Resume(l.ctx); err != nil {
					a.r.opt.Log.Error("letting an instance go on", "error", err)
				}
			}()
		}
	}
	for _, s := range shots {
		taken := map[int32]blocks.Sum(nil)
		if err == nil {
			taken, err = a.photograph(l, s.volume)
		}
		a.mu.Lock()
		a.develop(s.snapshot, taken, effect, err)
		a.mu.Unlock()
	}
}

// photograph returns what is on a volume, with its blocks held.
func (a *area) photograph(l *live, v *volume) (map[int32]blocks.Sum, error) {
	a.mu.Lock()
	there := a.volumes.rows[v.ID] == v
	img := a.contents(v)
	a.mu.Unlock()
	after, err := img.read(l.ctx, l.path(v))
	switch {
	case errors.Is(err, os.ErrNotExist) && there: // no machine has it, so that the store does
		return img.blocks, nil // held, as they were to be
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("the volume %s was deleted", v.ID)
	}
	img.release()
	return after, err
}

// develop completes a snapshot with what was taken for it.
func (a *area) develop(s *snapshot, taken map[int32]blocks.Sum, effect faults.Effect, err error) {
	if a.snapshots.rows[s.ID] != s { // it was deleted
		a.r.blocks.DropAll(maps.Values(taken))
		return
	}
	to := a.whole(s.stage, effect)
	if err == nil {
		err = s.take(a, taken)
	}
	if err != nil {
		a.r.opt.Log.Error("making a snapshot of a volume", "snapshot", s.ID, "error", err)
		to.State = stateError
	}
	if err := a.advance(s, to); err != nil {
		a.r.opt.Log.Error("recording a snapshot", "snapshot", s.ID, "error", err)
		s.mu.Lock()
		s.State = stateError // so it is at the next start: a pending one would stay it for ever
		s.mu.Unlock()
	}
}

type createSnapshotsIn struct {
	dryRun
	Description string    `q:"Description"`
	CopyTags    string    `q:"CopyTagsFromSource"`
	Specs       []tagSpec `q:"TagSpecification"`
	From        struct {
		Instance    string   `q:"InstanceId"`
		ExcludeBoot bool     `q:"ExcludeBootVolume"`
		Exclude     []string `q:"ExcludeDataVolumeId"`
	} `q:"InstanceSpecification"`
}

// snapshotInfoXML is what CreateSnapshots says of a snapshot: the same, with one name for another.
type snapshotInfoXML struct {
	Description string `xml:"description"`
	Tags        []tag  `xml:"tagSet>item,omitempty"`
	Encrypted   bool   `xml:"encrypted"`
	Volume      string `xml:"volumeId"`
	State       string `xml:"state"`
	Size        int64  `xml:"volumeSize"`
	Started     string `xml:"startTime"`
	Progress    string `xml:"progress"`
	Owner       string `xml:"ownerId"`
	ID          string `xml:"snapshotId"`
}

type createSnapshotsOut struct {
	reply
	Snapshots list[snapshotInfoXML] `xml:"snapshotSet"`
}

func (a *area) createSnapshots(in *createSnapshotsIn) (*createSnapshotsOut, error) {
	if in.From.Instance == "" {
		return nil, missing("InstanceSpecification.InstanceId")
	}
	i, err := a.instance(in.From.Instance)
	if err != nil {
		return nil, err
	}
	switch {
	case in.CopyTags != "" && in.CopyTags != "volume":
		return nil, errorf("InvalidParameterValue", "Value (%.40s) for parameter CopyTagsFromSource is invalid. Valid values: volume", in.CopyTags)
	case i.State != stateRunning && i.State != stateStopped:
		return nil, errorf("IncorrectState", "The instance '%s' is %s.", i.ID, i.State)
	}
	volumes := a.attached(i)
	for _, id := range in.From.Exclude {
		if !slices.ContainsFunc(volumes, func(v *volume) bool { return v.ID == id && v.Attachment.Device != i.RootDevice }) {
			return nil, errorf("InvalidParameterValue", "The volume '%.60s' is not a data volume of the instance '%s'", id, i.ID)
		}
	}
	volumes = slices.DeleteFunc(volumes, func(v *volume) bool {
		return in.From.ExcludeBoot && v.Attachment.Device == i.RootDevice || slices.Contains(in.From.Exclude, v.ID)
	})
	if len(volumes) == 0 {
		return nil, errorf("InvalidParameterValue", "There are no volumes of the instance '%s' to make snapshots of", i.ID)
	}
	tags, err := specTags(in.Specs, "snapshot")
	if err != nil {
		return nil, err
	}
	if err := a.canShoot(in.Description, volumes...); err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var tagsOf func(*volume) map[string]string
	if in.CopyTags != "" {
		tagsOf = func(v *volume) map[string]string { return v.Tags }
	}
	all, err := a.shoot(in.Description, tags["snapshot"], tagsOf, volumes...)
	if err != nil {
		return nil, err
	}
	out := &createSnapshotsOut{}
	for _, x := range all {
		out.Snapshots.Items = append(out.Snapshots.Items, snapshotInfoXML{x.Description, x.Tags, x.Encrypted, x.Volume, x.State, x.Size, x.Started, x.Progress, x.Owner, x.ID})
	}
	return out, nil
}
