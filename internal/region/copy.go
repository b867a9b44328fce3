package region

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// handleFrom is handle for actions that read another region: both are held, in the order of their names.
func handleFrom[In any, P interface {
	*In
	from() string
}, Out response](f func(to, from *area, in *In) (Out, error)) func(*area, *request) (response, error) {
	return func(a *area, r *request) (response, error) {
		in := new(In)
		if err := r.form.Decode(in); err != nil {
			return nil, queryError(err)
		}
		name := P(in).from()
		if name == "" {
			return nil, missing("SourceRegion")
		}
		source := a.r.areas[name]
		if source == nil || source.partition() != a.partition() {
			return nil, errorf("InvalidRegion", "Invalid region: %.60s", name)
		}
		both := []*area{a}
		if source != a {
			both = append(both, source)
			slices.SortFunc(both, func(a, b *area) int { return strings.Compare(a.name, b.name) })
		}
		for _, b := range both {
			if b == a {
				defer a.begin(r)()
				continue
			}
			b.mu.Lock()
			defer b.mu.Unlock()
		}
		out, err := f(a, source, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// digest identifies the parameters of a request, so that a client token used for others is noticed.
func digest(in any) string {
	data, err := json.Marshal(in)
	if err != nil {
		panic(err) // there is nothing in a request that JSON cannot write
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// mismatched is the refusal of a client token that came with other parameters before.
func mismatched() error {
	return errorf("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
}

// maxCopies is how many snapshots can be copied into a region at once.
const maxCopies = 20

type copySnapshotIn struct {
	dryRun
	encryption
	SourceRegion string    `q:"SourceRegion"`
	SourceID     string    `q:"SourceSnapshotId"`
	Destination  string    `q:"DestinationRegion"`
	PresignedURL string    `q:"PresignedUrl"` // this account's snapshots need none
	Description  string    `q:"Description"`
	Specs        []tagSpec `q:"TagSpecification"`
}

func (in *copySnapshotIn) from() string { return in.SourceRegion }

type copySnapshotOut struct {
	reply
	ID   string `xml:"snapshotId"`
	Tags []tag  `xml:"tagSet>item,omitempty"`
}

func (a *area) copySnapshot(from *area, in *copySnapshotIn) (*copySnapshotOut, error) {
	source, err := from.mySnapshot(in.SourceID)
	if err != nil {
		return nil, err
	}
	tags, err := specTags(in.Specs, "snapshot")
	if err != nil {
		return nil, err
	}
	switch {
	case in.Destination != "" && in.Destination != a.name:
		return nil, errorf("InvalidParameterValue", "The destination region is %.60s, but the request was sent to %s", in.Destination, a.name)
	case source.State != stateCompleted:
		return nil, errorf("IncorrectState", "Snapshot is in invalid state - %s", source.State)
	case len(in.Description) > 255:
		return nil, errorf("InvalidParameterValue", "The description is longer than 255 characters")
	}
	if err := a.roomFor(1); err != nil {
		return nil, err
	}
	s, err := a.copyOf(source, in.encryption)
	if err != nil {
		return nil, err
	}
	s.Description, s.Tags = in.Description, tags["snapshot"]
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &copySnapshotOut{ID: s.ID, Tags: tagSet(s.Tags)}, a.keepCopy(s, source)
}

// roomFor says whether n more snapshots can be copied into the region now.
func (a *area) roomFor(n int) error {
	for id := range a.snapshots.rows {
		if s := a.snapshot(id); s.Copy && s.State == statePending {
			n++
		}
	}
	if n > maxCopies {
		return errorf("ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is %d for this destination region.", maxCopies)
	}
	return nil
}

// copyOf returns a copy of a snapshot, which is not kept yet.
func (a *area) copyOf(source *snapshot, e encryption) (*snapshot, error) {
	encrypted, key, usable, err := e.resolve(a, source)
	if err != nil {
		return nil, err
	}
	s := a.newSnapshot(source.VolumeSize)
	s.Encrypted, s.KmsKey, s.Copy = encrypted, key, true
	if !usable {
		s.State = stateError
	}
	return s, nil
}

// keepCopy gives a copy the blocks of its source, and writes it down.
func (a *area) keepCopy(s, source *snapshot) error {
	if s.State == stateError {
		return a.keep(s, s.stage)
	}
	if err := s.inherit(a, source); err != nil {
		return err
	}
	return a.keep(s, a.whole(s.stage, a.effect))
}

type copyImageIn struct {
	dryRun
	encryption
	Token        string    `q:"ClientToken"`
	Name         string    `q:"Name"`
	Description  string    `q:"Description"`
	SourceID     string    `q:"SourceImageId"`
	SourceRegion string    `q:"SourceRegion"`
	CopyTags     bool      `q:"CopyImageTags"`
	Specs        []tagSpec `q:"TagSpecification"`
}

func (in *copyImageIn) from() string { return in.SourceRegion }

func (a *area) copyImage(from *area, in *copyImageIn) (*registerImageOut, error) {
	untold := *in
	untold.Token = ""
	request := digest(untold)
	for id, i := range a.images.rows {
		if in.Token == "" || i.Token != in.Token {
			continue
		}
		if i.Request != request {
			return nil, mismatched()
		}
		return &registerImageOut{ID: id}, nil
	}
	if in.SourceID == "" {
		return nil, missing("SourceImageId")
	}
	source, err := from.available(in.SourceID)
	if err != nil {
		return nil, err
	}
	if err := (&registerImageIn{Name: in.Name, Description: in.Description}).checkName(); err != nil {
		return nil, err
	}
	if source.Location != "" {
		return nil, errorf("UnsupportedOperation", "The local region copies images that are backed by EBS alone")
	}
	tags, err := specTags(in.Specs, "image", "snapshot")
	if err != nil {
		return nil, err
	}
	i := *source
	i.ID, i.Name, i.Description, i.Token, i.Request = a.images.newID(), in.Name, in.Description, in.Token, request
	i.State, i.permissions, i.Created, i.SourceImage, i.SourceRegion = imageAvailable, permissions{}, a.r.opt.Now(), source.ID, from.name
	i.Protected, i.Cooldown, i.Unprotected, i.Deprecation, i.LastLaunch = false, 0, time.Time{}, time.Time{}, time.Time{}
	if i.Tags = tags["image"]; in.CopyTags {
		i.Tags = maps.Clone(source.Tags)
		maps.Copy(i.Tags, tags["image"])
	}
	sources, copies, err := a.copyMappings(from, source, &i, in.encryption)
	if err != nil {
		return nil, err
	}
	if err := a.roomFor(len(copies)); err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	for n, s := range copies {
		s.Tags = maps.Clone(tags["snapshot"])
		if err := a.keepCopy(s, sources[n]); err != nil {
			return nil, err
		}
		if s.State == stateError {
			i.State, i.Reason = imageFailed, "Given key ID is not accessible"
		}
	}
	a.settleLater(&i)
	return &registerImageOut{ID: i.ID}, a.images.put(i.ID, &i)
}

// copyMappings gives an image copies of the snapshots of its source, and returns both. A snapshot that is mapped twice is copied once.
func (a *area) copyMappings(from *area, source, i *image, e encryption) (sources, copies []*snapshot, err error) {
	i.Mappings = nil
	for _, m := range source.Mappings {
		if m.EBS == nil || m.EBS.Snapshot == "" {
			i.Mappings = append(i.Mappings, m)
			continue
		}
		old := from.snapshot(m.EBS.Snapshot)
		n := slices.Index(sources, old)
		if n < 0 {
			s, err := a.copyOf(old, e)
			if err != nil {
				return nil, nil, err
			}
			s.Description = "Copied for DestinationAmi " + i.ID + " from SourceAmi " + source.ID + " for SourceSnapshot " + old.ID +
				". Task created on " + strconv.FormatInt(i.Created.UnixMilli(), 10) + "."
			n, sources, copies = len(copies), append(sources, old), append(copies, s)
		}
		volume := *m.EBS
		volume.Snapshot, volume.Encrypted = copies[n].ID, copies[n].Encrypted
		i.Mappings = append(i.Mappings, mapping{Device: m.Device, EBS: &volume})
	}
	return sources, copies, nil
}
