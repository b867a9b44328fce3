package region

import (
	"cmp"
	"slices"
	"strconv"
)

type snapshotXML struct {
	ID          string `xml:"snapshotId"`
	Volume      string `xml:"volumeId"`
	State       string `xml:"status"`
	Started     string `xml:"startTime"`
	Progress    string `xml:"progress"`
	Owner       string `xml:"ownerId"`
	Size        int64  `xml:"volumeSize"`
	Description string `xml:"description"`
	Tags        []tag  `xml:"tagSet>item,omitempty"`
	Encrypted   bool   `xml:"encrypted"`
	KmsKey      string `xml:"kmsKeyId,omitempty"`
	Tier        string `xml:"storageTier"`
}

// noVolume is the volume id that AWS shows for a snapshot that was made from no volume.
const noVolume = "vol-ffffffff"

func (a *area) snapshotXML(s *snapshot) snapshotXML {
	x := snapshotXML{ID: s.ID, Volume: cmp.Or(s.Volume, noVolume), State: s.State, Started: stamp(s.Started), Progress: "0%", Owner: a.r.opt.AccountID,
		Size: s.VolumeSize, Description: s.Description, Tags: tagSet(s.Tags), Encrypted: s.Encrypted, KmsKey: s.KmsKey, Tier: "standard"}
	if s.State == stateCompleted {
		x.Progress = "100%"
	}
	return x
}

func (x snapshotXML) attr(name string) ([]string, bool) {
	one := map[string]string{"description": x.Description, "encrypted": strconv.FormatBool(x.Encrypted), "owner-id": x.Owner,
		"progress": x.Progress, "snapshot-id": x.ID, "start-time": x.Started, "status": x.State, "volume-id": x.Volume,
		"volume-size": strconv.FormatInt(x.Size, 10), "storage-tier": x.Tier}
	if v, ok := one[name]; ok {
		return []string{v}, true
	}
	if name == "owner-alias" {
		return nil, true
	}
	return tagAttr(tagMap(x.Tags), name)
}

type describeSnapshotsIn struct {
	dryRun
	paged
	Filters      []filter `q:"Filter"`
	Owners       []string `q:"Owner"`
	RestorableBy []string `q:"RestorableBy"`
	IDs          []string `q:"SnapshotId"`
}

type describeSnapshotsOut struct {
	reply
	Snapshots list[snapshotXML] `xml:"snapshotSet"`
	Next      string            `xml:"nextToken,omitempty"`
}

func (a *area) describeSnapshots(in *describeSnapshotsIn) (*describeSnapshotsOut, error) {
	for _, id := range in.IDs {
		if _, err := a.mySnapshot(id); err != nil {
			return nil, err
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var all []snapshotXML
	mine := func(who string) bool { return who == "self" || who == a.r.opt.AccountID }
	for id := range a.snapshots.rows {
		restorable := func(who string) bool {
			return mine(who) || slices.Contains(a.snapshots.rows[id].Users, who) || who == "all" && a.snapshots.rows[id].Public
		}
		if a.visible(id) && has(in.IDs, id) && (len(in.Owners) == 0 || slices.ContainsFunc(in.Owners, mine)) &&
			(len(in.RestorableBy) == 0 || slices.ContainsFunc(in.RestorableBy, restorable)) {
			all = append(all, a.snapshotXML(a.snapshot(id)))
		}
	}
	all, err := choose(all, in.Filters, snapshotXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeSnapshotsOut{}
	out.Snapshots.Items, out.Next, err = page(a.r, "DescribeSnapshots", in.paged, 5, len(in.IDs) > 0, all, func(x snapshotXML) string { return x.Started + x.ID })
	return out, err
}

type deleteSnapshotIn struct {
	dryRun
	ID string `q:"SnapshotId"`
}

func (a *area) deleteSnapshot(in *deleteSnapshotIn) (*done, error) {
	s, err := a.mySnapshot(in.ID)
	if err != nil {
		return nil, err
	}
	if user := a.usedBy(s.ID); user != "" {
		return nil, errorf("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", s.ID, user)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, a.removeSnapshot(s)
}

// usedBy returns the id of a registered image that needs the snapshot, or "".
func (a *area) usedBy(snapshot string) string {
	for id, i := range a.images.rows {
		if i.registered() && slices.ContainsFunc(i.Mappings, func(m mapping) bool { return m.EBS != nil && m.EBS.Snapshot == snapshot }) {
			return id
		}
	}
	return ""
}

// removeSnapshot forgets a snapshot first and gives up its blocks then, so that a kill in between leaves
// blocks without an owner, which the next start sweeps, and never an owner without its blocks.
func (a *area) removeSnapshot(s *snapshot) error {
	if err := a.snapshots.drop(s.ID); err != nil {
		return err
	}
	err := s.finish()
	s.remove(a.r.blocks)
	return err
}
