package region

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"ingot/internal/region/blocks"
)

// States of a volume and of its attachment.
const (
	stateCreating  = "creating"
	stateAvailable = "available"
	stateInUse     = "in-use"
	stateAttaching = "attaching"
	stateAttached  = "attached"
	stateDetaching = "detaching"
)

// volume is an EBS volume. The area's lock guards it. What it holds is in the block store, as a snapshot's blocks are: while a
// machine has it, it is a file beside the machine, and comes back when the machine lets go of it.
type volume struct {
	ID, Zone       string
	volumeSpec     // DeleteOnTermination is that of its attachment
	State          string
	Lineage        string // of the snapshot that it was made from, or its own id: its snapshots can be compared
	Created, Ready time.Time
	Fails          bool // what becomes of it when it is ready; a zero Ready: it has been
	Token, Request string
	Attachment     *attachment
	Modified       *modification
	Tags           map[string]string

	blocks map[int32]blocks.Sum
}

// attachment is a volume's place at an instance.
type attachment struct {
	Instance, Device, State string
	Attached                time.Time
}

func (a *area) volumeBlocks(id string) string {
	return filepath.Join(a.volumes.dir, id+baseExt)
}

// newVolume returns a volume of a snapshot, which may be nil, and holds the snapshot's blocks for it. It is not kept yet.
func (a *area) newVolume(spec volumeSpec, zone string, from *snapshot) *volume {
	id := a.volumes.newID()
	v := &volume{ID: id, Zone: zone, volumeSpec: spec, State: stateAvailable, Lineage: id, Created: a.r.opt.Now(), Tags: map[string]string{}, blocks: map[int32]blocks.Sum{}}
	if from != nil {
		v.Lineage, v.blocks = from.Lineage, from.view()
	}
	a.r.blocks.HoldAll(maps.Values(v.blocks))
	return v
}

// keepVolume writes a new volume down, or gives up its blocks.
func (a *area) keepVolume(v *volume) error {
	err := writeRecords(a.volumeBlocks(v.ID), v.blocks)
	if err == nil {
		err = a.volumes.put(v.ID, v)
	}
	if err != nil {
		a.forgetBlocks(v)
	}
	return err
}

// fill replaces what a volume holds by blocks that the caller has held for it.
func (a *area) fill(v *volume, after map[int32]blocks.Sum) error {
	if err := writeRecords(a.volumeBlocks(v.ID), after); err != nil {
		return err
	}
	before := v.blocks
	v.blocks = after
	a.r.blocks.DropAll(maps.Values(before))
	return nil
}

// removeVolume forgets a volume first and gives up its blocks then, as removeSnapshot does.
func (a *area) removeVolume(v *volume) error {
	if err := a.volumes.drop(v.ID); err != nil {
		return err
	}
	a.forgetBlocks(v)
	return nil
}

func (a *area) forgetBlocks(v *volume) {
	a.r.blocks.DropAll(maps.Values(v.blocks))
	v.blocks = nil
	os.Remove(a.volumeBlocks(v.ID)) // a leftover is harmless: no other volume will have this id
}

func (v *volume) load(a *area) (err error) {
	if v.blocks, err = readRecords(a.volumeBlocks(v.ID)); err != nil {
		return err
	}
	a.r.blocks.HoldAll(maps.Values(v.blocks))
	return nil
}

func (v *volume) lost(missing map[blocks.Sum]bool) bool {
	for _, sum := range v.blocks {
		if missing[sum] {
			return true
		}
	}
	return false
}

// writeRecords writes a block list whole.
func writeRecords(path string, m map[int32]blocks.Sum) error {
	data := make([]byte, 0, len(m)*recordSize)
	for _, index := range slices.Sorted(maps.Keys(m)) {
		data = append(data, record(index, m[index])...)
	}
	return replaceFile(path, data)
}

// contents returns what a volume holds, for somebody who does not hold the area's lock. It must be released.
func (a *area) contents(v *volume) *volumeImage {
	img := &volumeImage{store: a.r.blocks, size: v.Size * gib, blocks: maps.Clone(v.blocks)}
	if v.Snapshot != "" && (v.Encrypted || a.r.opt.NoiseUnwritten) {
		img.noise = v.ID
	}
	a.r.blocks.HoldAll(maps.Values(img.blocks))
	return img
}

// attached returns the volumes of an instance, that of its root device first, the others in the order of their devices.
func (a *area) attached(i *instance) []*volume {
	var all []*volume
	for _, v := range a.volumes.rows {
		if v.Attachment != nil && v.Attachment.Instance == i.ID {
			all = append(all, v)
		}
	}
	rank := func(v *volume) int {
		if v.Attachment.Device == i.RootDevice {
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b *volume) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Attachment.Device, b.Attachment.Device))
	})
	return all
}

// root returns the volume that an instance boots from, or nil.
func (a *area) root(i *instance) *volume {
	if all := a.attached(i); len(all) > 0 && all[0].Attachment.Device == i.RootDevice {
		return all[0]
	}
	return nil
}

// alone returns the volume without its attachment.
func (v volume) alone() volume {
	v.Attachment, v.DeleteOnTermination = nil, false
	if v.State == stateInUse {
		v.State = stateAvailable
	}
	return v
}

// letGo notes that a volume's attachment has ended.
func (a *area) letGo(v *volume) error {
	*v = v.alone()
	return a.volumes.put(v.ID, v)
}

// release lets go of the volumes of an instance that has ended.
func (a *area) release(i *instance) {
	for _, v := range a.attached(i) {
		var err error
		if v.DeleteOnTermination {
			err = a.removeVolume(v)
		}
		if err != nil || !v.DeleteOnTermination {
			err = errors.Join(err, a.letGo(v))
		}
		if err != nil {
			a.r.opt.Log.Error("letting go of a volume", "volume", v.ID, "error", err)
		}
	}
}

// volume returns a volume by id. One whose time has come is available, or in error.
func (a *area) volume(id string) (*volume, error) {
	if !validID("vol-", id) {
		return nil, errorf("InvalidParameterValue", "Value (%.100s) for parameter volumeId is invalid. Expected: 'vol-...'.", id)
	}
	v := a.volumes.rows[id]
	if v == nil || !a.visible(id) {
		return nil, notFound(id)
	}
	return a.settledVolume(v), nil
}

func (a *area) settledVolume(v *volume) *volume {
	if v.State != stateCreating || a.r.opt.Now().Before(v.Ready) {
		return v
	}
	if v.State = stateAvailable; v.Fails {
		v.State = stateError
	}
	if err := a.volumes.put(v.ID, v); err != nil {
		a.r.opt.Log.Error("recording a volume", "volume", v.ID, "error", err)
	}
	return v
}

type volumeAttachmentXML struct {
	Volume              string `xml:"volumeId"`
	Instance            string `xml:"instanceId"`
	Device              string `xml:"device"`
	Status              string `xml:"status"`
	Attached            string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

type volumeXML struct {
	ID          string                    `xml:"volumeId"`
	Size        int64                     `xml:"size"`
	Snapshot    string                    `xml:"snapshotId"`
	Zone        string                    `xml:"availabilityZone"`
	Status      string                    `xml:"status"`
	Created     string                    `xml:"createTime"`
	Attachments list[volumeAttachmentXML] `xml:"attachmentSet"`
	Tags        []tag                     `xml:"tagSet>item,omitempty"`
	Type        string                    `xml:"volumeType"`
	IOPS        int32                     `xml:"iops,omitempty"`
	Throughput  int32                     `xml:"throughput,omitempty"`
	Encrypted   bool                      `xml:"encrypted"`
	KmsKey      string                    `xml:"kmsKeyId,omitempty"`
	MultiAttach bool                      `xml:"multiAttachEnabled"`
}

func (v *volume) xml() volumeXML {
	x := volumeXML{ID: v.ID, Size: v.Size, Snapshot: v.Snapshot, Zone: v.Zone, Status: v.State, Created: stamp(v.Created), Tags: tagSet(v.Tags), Type: v.Type,
		IOPS: v.IOPS, Throughput: v.Throughput, Encrypted: v.Encrypted, KmsKey: v.KmsKey}
	if v.Type == "gp2" { // three for each GiB, which cannot be chosen
		x.IOPS = int32(min(max(100, 3*v.Size), 16000))
	}
	if v.Attachment != nil {
		x.Attachments.Items = []volumeAttachmentXML{v.attachmentXML()}
	}
	return x
}

func (v *volume) attachmentXML() volumeAttachmentXML {
	t := v.Attachment
	return volumeAttachmentXML{v.ID, t.Instance, t.Device, t.State, stamp(t.Attached), v.DeleteOnTermination}
}

func (x volumeXML) attr(name string) ([]string, bool) {
	one := map[string]string{"availability-zone": x.Zone, "create-time": x.Created, "encrypted": strconv.FormatBool(x.Encrypted), "fast-restored": "false",
		"multi-attach-enabled": "false", "size": strconv.FormatInt(x.Size, 10), "snapshot-id": x.Snapshot, "status": x.Status, "volume-id": x.ID,
		"volume-type": x.Type}
	if v, ok := one[name]; ok {
		return []string{v}, true
	}
	var t volumeAttachmentXML
	if len(x.Attachments.Items) > 0 {
		t = x.Attachments.Items[0]
	}
	attached := map[string]string{"attachment.attach-time": t.Attached, "attachment.delete-on-termination": strconv.FormatBool(t.DeleteOnTermination),
		"attachment.device": t.Device, "attachment.instance-id": t.Instance, "attachment.status": t.Status}
	if v, ok := attached[name]; ok {
		if t.Volume == "" {
			return nil, true
		}
		return []string{v}, true
	}
	return tagAttr(tagMap(x.Tags), name)
}
