package region

import (
	"cmp"
	"slices"
	"time"
)

type createVolumeIn struct {
	dryRun
	encryption
	Zone        string    `q:"AvailabilityZone"`
	Size        *int64    `q:"Size"`
	Snapshot    string    `q:"SnapshotId"`
	Type        string    `q:"VolumeType"`
	IOPS        *int32    `q:"Iops"`
	Throughput  *int32    `q:"Throughput"`
	MultiAttach bool      `q:"MultiAttachEnabled"`
	Token       string    `q:"ClientToken"`
	Specs       []tagSpec `q:"TagSpecification"`
}

type volumeOut struct {
	reply
	volumeXML
}

func (a *area) createVolume(in *createVolumeIn) (*volumeOut, error) {
	untold := *in
	untold.Token = ""
	request := digest(untold)
	for _, v := range a.volumes.rows {
		if in.Token == "" || v.Token != in.Token {
			continue
		}
		if v.Request != request {
			return nil, mismatched()
		}
		return &volumeOut{volumeXML: a.settledVolume(v).xml()}, nil
	}
	spec, from, err := in.check(a)
	if err != nil {
		return nil, err
	}
	encrypted, key, usable, err := in.encryption.resolve(a, from)
	if err != nil {
		return nil, err
	}
	spec.Encrypted = encrypted
	tags, err := specTags(in.Specs, "volume")
	if err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	v := a.newVolume(*spec, in.Zone, from)
	v.KmsKey, v.Token, v.Request, v.Tags = key, in.Token, request, tags["volume"]
	if e := a.effect; e.Pending > 0 || e.Fail || !usable {
		v.State, v.Ready, v.Fails = stateCreating, a.r.opt.Now().Add(e.Pending), e.Fail || !usable
	}
	out := &volumeOut{volumeXML: v.xml()}
	out.Status = stateCreating // so it answers, however fast it is made
	return out, a.keepVolume(v)
}

// check returns what the volume will be, and the snapshot that it is made from.
func (in *createVolumeIn) check(a *area) (spec *volumeSpec, from *snapshot, err error) {
	spec = &volumeSpec{Type: cmp.Or(in.Type, "gp2"), Snapshot: in.Snapshot}
	if in.Size != nil {
		spec.Size = *in.Size
	}
	switch {
	case in.Zone == "":
		return nil, nil, missing("zone")
	case !slices.ContainsFunc(a.zones(), func(z zoneXML) bool { return z.Name == in.Zone }):
		return nil, nil, errorf("InvalidZone.NotFound", "The zone '%.60s' does not exist.", in.Zone)
	case in.Size == nil && in.Snapshot == "":
		return nil, nil, missing("size/snapshot")
	}
	if in.Snapshot != "" {
		if from, err = a.mySnapshot(in.Snapshot); err != nil {
			return nil, nil, err
		}
		switch {
		case from.State != stateCompleted:
			return nil, nil, errorf("IncorrectState", "Snapshot is in invalid state - %s", from.State)
		case in.Size == nil:
			spec.Size = from.VolumeSize
		case spec.Size < from.VolumeSize:
			return nil, nil, errorf("InvalidParameterValue", "The size of the volume is smaller than its snapshot's: %s has %d GiB.", from.ID, from.VolumeSize)
		}
	}
	if err := spec.rate("", &ebsIn{IOPS: in.IOPS, Throughput: in.Throughput, Size: &spec.Size}); err != nil {
		return nil, nil, err
	}
	switch {
	case in.MultiAttach && spec.Type != "io1" && spec.Type != "io2":
		return nil, nil, errorf("InvalidParameterCombination", "The parameter MultiAttachEnabled is not supported for %s volumes.", spec.Type)
	case in.MultiAttach:
		return nil, nil, errorf("UnsupportedOperation", "The local region attaches a volume to one instance alone")
	}
	return spec, from, nil
}

type deleteVolumeIn struct {
	dryRun
	ID string `q:"VolumeId"`
}

func (a *area) deleteVolume(in *deleteVolumeIn) (*done, error) {
	if in.ID == "" {
		return nil, missing("volumeId")
	}
	v, err := a.volume(in.ID)
	if err != nil {
		return nil, err
	}
	switch {
	case v.Attachment != nil:
		return nil, errorf("VolumeInUse", "Volume %s is currently attached to %s", v.ID, v.Attachment.Instance)
	case v.State == stateCreating:
		return nil, errorf("IncorrectState", "%s is not 'available'.", v.ID)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, a.removeVolume(v)
}

type describeVolumesIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"VolumeId"`
}

type describeVolumesOut struct {
	reply
	Volumes list[volumeXML] `xml:"volumeSet"`
	Next    string          `xml:"nextToken,omitempty"`
}

func (a *area) describeVolumes(in *describeVolumesIn) (*describeVolumesOut, error) {
	for _, id := range in.IDs {
		if _, err := a.volume(id); err != nil {
			return nil, err
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var all []volumeXML
	for id, v := range a.volumes.rows {
		if a.visible(id) && has(in.IDs, id) {
			all = append(all, a.settledVolume(v).xml())
		}
	}
	all, err := choose(all, in.Filters, volumeXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeVolumesOut{}
	out.Volumes.Items, out.Next, err = page(a.r, "DescribeVolumes", in.paged, 5, len(in.IDs) > 0, all, func(x volumeXML) string { return x.Created + x.ID })
	return out, err
}

// modification is the last change of a volume's size, type or rates.
type modification struct {
	Before, After volumeSpec
	At            time.Time
}

// modifyPause is how long EC2 has a volume rest between two modifications.
const modifyPause = 6 * time.Hour

type modifyVolumeIn struct {
	dryRun
	ID          string `q:"VolumeId"`
	Size        *int64 `q:"Size"`
	Type        string `q:"VolumeType"`
	IOPS        *int32 `q:"Iops"`
	Throughput  *int32 `q:"Throughput"`
	MultiAttach *bool  `q:"MultiAttachEnabled"`
}

type modificationXML struct {
	Volume           string `xml:"volumeId"`
	State            string `xml:"modificationState"`
	TargetSize       int64  `xml:"targetSize"`
	TargetIOPS       int32  `xml:"targetIops,omitempty"`
	TargetType       string `xml:"targetVolumeType"`
	TargetThroughput int32  `xml:"targetThroughput,omitempty"`
	TargetMulti      bool   `xml:"targetMultiAttachEnabled"`
	Size             int64  `xml:"originalSize"`
	IOPS             int32  `xml:"originalIops,omitempty"`
	Type             string `xml:"originalVolumeType"`
	Throughput       int32  `xml:"originalThroughput,omitempty"`
	Multi            bool   `xml:"originalMultiAttachEnabled"`
	Progress         int64  `xml:"progress"`
	Start            string `xml:"startTime"`
	End              string `xml:"endTime,omitempty"`
}

func (v *volume) modificationXML() modificationXML {
	m := v.Modified
	return modificationXML{Volume: v.ID, State: "completed", TargetSize: m.After.Size, TargetIOPS: m.After.IOPS, TargetType: m.After.Type,
		TargetThroughput: m.After.Throughput, Size: m.Before.Size, IOPS: m.Before.IOPS, Type: m.Before.Type, Throughput: m.Before.Throughput, Progress: 100,
		Start: stamp(m.At), End: stamp(m.At)}
}

type modifyVolumeOut struct {
	reply
	Modification modificationXML `xml:"volumeModification"`
}

// modifyVolume changes a volume at once. A guest that has it sees its new size when it is started the next time.
func (a *area) modifyVolume(in *modifyVolumeIn) (*modifyVolumeOut, error) {
	if in.ID == "" {
		return nil, missing("volumeId")
	}
	v, err := a.volume(in.ID)
	if err != nil {
		return nil, err
	}
	now := a.r.opt.Now()
	next := v.volumeSpec
	if in.Size != nil {
		next.Size = *in.Size
	}
	if in.Type != "" && in.Type != v.Type {
		next.Type, next.IOPS, next.Throughput = in.Type, 0, 0
	}
	switch {
	case in.Size == nil && in.Type == "" && in.IOPS == nil && in.Throughput == nil:
		return nil, errorf("InvalidParameterValue", "You must specify at least one of the following parameters: Size, VolumeType, Iops or Throughput.")
	case in.MultiAttach != nil && *in.MultiAttach:
		return nil, errorf("UnsupportedOperation", "The local region attaches a volume to one instance alone")
	case v.State != stateAvailable && v.State != stateInUse:
		return nil, errorf("IncorrectState", "Volume %s is in state %s, and cannot be modified", v.ID, v.State)
	case next.Size < v.Size:
		return nil, errorf("InvalidParameterValue", "New size cannot be smaller than existing size")
	case v.Modified != nil && now.Sub(v.Modified.At) < modifyPause:
		return nil, errorf("VolumeModificationRateExceeded", "You've reached the maximum modification rate per volume limit. Wait at least 6 hours between modifications per EBS volume.")
	}
	if err := next.rate("", &ebsIn{IOPS: in.IOPS, Throughput: in.Throughput, Size: &next.Size}); err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	changed := *v
	changed.volumeSpec, changed.Modified = next, &modification{Before: v.volumeSpec, After: next, At: now}
	return &modifyVolumeOut{Modification: changed.modificationXML()}, set(a.volumes, v.ID, v, v, changed)
}

type describeModificationsIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"VolumeId"`
}

type describeModificationsOut struct {
	reply
	Modifications list[modificationXML] `xml:"volumeModificationSet"`
	Next          string                `xml:"nextToken,omitempty"`
}

func (x modificationXML) attr(name string) ([]string, bool) {
	v, ok := map[string]string{"modification-state": x.State, "volume-id": x.Volume, "original-volume-type": x.Type, "target-volume-type": x.TargetType}[name]
	return []string{v}, ok
}

func (a *area) describeModifications(in *describeModificationsIn) (*describeModificationsOut, error) {
	for _, id := range in.IDs {
		v, err := a.volume(id)
		if err != nil {
			return nil, err
		}
		if v.Modified == nil {
			return nil, errorf("InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", id)
		}
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var all []modificationXML
	for id, v := range a.volumes.rows {
		if v.Modified != nil && a.visible(id) && has(in.IDs, id) {
			all = append(all, v.modificationXML())
		}
	}
	all, err := choose(all, in.Filters, modificationXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeModificationsOut{}
	out.Modifications.Items, out.Next, err = page(a.r, "DescribeVolumesModifications", in.paged, 1, false, all, func(x modificationXML) string { return x.Start + x.Volume })
	return out, err
}
