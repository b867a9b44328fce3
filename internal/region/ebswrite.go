package region

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ingot/internal/region/blocks"
)

type tagJSON struct{ Key, Value string }

func tagsOf(in []tagJSON) []tag {
	tags := make([]tag, len(in))
	for i, t := range in {
		tags[i] = tag(t)
	}
	return tags
}

type startSnapshotIn struct {
	VolumeSize       *int64
	ParentSnapshotId string //nolint:revive // as the wire spells it
	Tags             []tagJSON
	Description      string
	ClientToken      string
	Encrypted        *bool
	KmsKeyArn        string
	Timeout          *int64 // minutes
}

type startSnapshotOut struct {
	SnapshotId       string //nolint:revive
	Description      string `json:",omitempty"`
	OwnerId          string //nolint:revive
	Status           string
	StartTime        json.Number
	VolumeSize       int64
	BlockSize        int
	Tags             []tagJSON `json:",omitempty"`
	ParentSnapshotId string    `json:",omitempty"` //nolint:revive
	KmsKeyArn        string    `json:",omitempty"`
}

var (
	clientToken = regexp.MustCompile(`^\S{1,255}$`)
	kmsKey      = regexp.MustCompile(`^arn:aws[a-z-]*:kms:.*:[0-9]{12}:key/.*$`)
)

func epoch(t time.Time) json.Number {
	return json.Number(fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000))
}

// check validates what can be judged without looking at other objects.
func (in *startSnapshotIn) check() error {
	value := func(format string, args ...any) error { return invalid("INVALID_PARAMETER_VALUE", format, args...) }
	switch {
	case in.VolumeSize == nil:
		return invalid("INVALID_VOLUME_SIZE", "VolumeSize is required")
	case *in.VolumeSize < 1 || *in.VolumeSize > maxVolumeGiB:
		return invalid("INVALID_VOLUME_SIZE", "VolumeSize must be between 1 and %d GiB", maxVolumeGiB)
	case in.Timeout != nil && (*in.Timeout < 10 || *in.Timeout > 4320):
		return value("Timeout must be between 10 and 4320 minutes")
	case len(in.Description) > 255:
		return value("Description must not be longer than 255 characters")
	case in.ClientToken != "" && !clientToken.MatchString(in.ClientToken):
		return value("ClientToken must be 1 to 255 characters without white space")
	case in.KmsKeyArn != "" && (in.Encrypted == nil || !*in.Encrypted):
		return value("KmsKeyArn requires Encrypted to be true")
	case in.KmsKeyArn != "" && !kmsKey.MatchString(in.KmsKeyArn):
		return invalid("INVALID_CUSTOMER_KEY", "KmsKeyArn is not the ARN of a KMS key")
	case in.ParentSnapshotId != "" && in.Encrypted != nil:
		return value("Encrypted and ParentSnapshotId cannot be used together")
	case in.ParentSnapshotId != "" && !snapshotID.MatchString(in.ParentSnapshotId):
		return invalid("INVALID_SNAPSHOT_ID", "The parent snapshot's ID is not valid")
	}
	if err := checkTags(tagsOf(in.Tags), 127, 255); err != nil {
		return invalid("INVALID_TAG", "%s", err.Message)
	}
	return nil
}

// digest identifies the parameters, so that a client token used for others is noticed.
func (in startSnapshotIn) digest() string {
	in.ClientToken = ""
	in.Tags = slices.Clone(in.Tags)
	slices.SortFunc(in.Tags, func(a, b tagJSON) int { return strings.Compare(a.Key, b.Key) })
	return digest(in)
}

func (a *area) startSnapshot(w http.ResponseWriter, r *request) error {
	var in startSnapshotIn
	if err := r.decodeJSON(&in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	defer a.begin(r)()
	s, err := a.started(&in)
	if err == nil && s == nil {
		s, err = a.start(&in)
	}
	if err != nil {
		return err
	}
	out := startSnapshotOut{SnapshotId: s.ID, Description: s.Description, OwnerId: a.r.opt.AccountID, Status: s.State,
		StartTime: epoch(s.Started), VolumeSize: s.VolumeSize, BlockSize: blocks.Size, ParentSnapshotId: s.Parent, KmsKeyArn: s.KmsKey}
	for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
		out.Tags = append(out.Tags, tagJSON{k, s.Tags[k]})
	}
	writeJSON(w, http.StatusCreated, out)
	return nil
}

// started returns the snapshot that an earlier request with the same client token started, if any.
func (a *area) started(in *startSnapshotIn) (*snapshot, error) {
	pending := 0
	for id := range a.snapshots.rows {
		s := a.snapshot(id)
		if s.State == statePending {
			pending++
		}
		if in.ClientToken == "" || s.Token != in.ClientToken {
			continue
		}
		if s.Request != in.digest() {
			return nil, &apiError{Status: http.StatusConflict, Code: "ConflictException",
				Message: "The client token was used before, with other parameters"}
		}
		return s, nil
	}
	if len(a.snapshots.rows) >= a.quota(quotaSnapshots) {
		return nil, &apiError{http.StatusPaymentRequired, "ServiceQuotaExceededException", "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
			"The region has as many snapshots as the account may have there"}
	}
	if pending >= a.quota(quotaPendingSnapshots) {
		return nil, &apiError{http.StatusPaymentRequired, "ServiceQuotaExceededException", "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
			"There are too many pending snapshots"}
	}
	return nil, nil
}

func (a *area) start(in *startSnapshotIn) (*snapshot, error) {
	s := a.newSnapshot(*in.VolumeSize)
	s.Description, s.Parent, s.Token, s.Request = in.Description, in.ParentSnapshotId, in.ClientToken, in.digest()
	s.Encrypted, s.KmsKey = in.Encrypted != nil && *in.Encrypted, in.KmsKeyArn
	for _, t := range in.Tags {
		s.Tags[t.Key] = t.Value
	}
	if in.Timeout != nil {
		s.Timeout = time.Duration(*in.Timeout) * time.Minute
	}
	if s.Encrypted && s.KmsKey == "" {
		s.KmsKey = a.managedKey()
	}
	if in.ParentSnapshotId != "" {
		parent := a.snapshot(in.ParentSnapshotId)
		switch {
		case parent == nil || !a.visible(parent.ID):
			return nil, noSnapshot(in.ParentSnapshotId)
		case parent.State != stateCompleted:
			return nil, invalid("INVALID_SNAPSHOT_ID", "The parent snapshot is %s, and must be completed", parent.State)
		case parent.VolumeSize > s.VolumeSize:
			return nil, invalid("INVALID_VOLUME_SIZE", "VolumeSize must not be less than the parent's %d GiB", parent.VolumeSize)
		}
		s.Lineage, s.Encrypted, s.KmsKey = parent.Lineage, parent.Encrypted, parent.KmsKey
		if err := s.inherit(a, parent); err != nil {
			return nil, err
		}
	}
	return s, a.keep(s, s.stage)
}

func (a *area) putSnapshotBlock(w http.ResponseWriter, r *request, id, indexText string) error {
	s, err := a.find(id)
	if err != nil {
		return err
	}
	index, err := blockIndex(s, indexText)
	if err != nil {
		return err
	}
	if p := r.Header.Get("X-Amz-Progress"); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 100 {
			return invalid("INVALID_PARAMETER_VALUE", "Progress must be between 0 and 100")
		}
	}
	sum, err := sentChecksum(r, true)
	switch {
	case err != nil:
		return err
	case r.Header.Get("X-Amz-Data-Length") != strconv.Itoa(blocks.Size):
		return invalid("INVALID_PARAMETER_VALUE", "DataLength must be %d", blocks.Size)
	case len(r.body) != blocks.Size:
		return invalid("INVALID_BLOCK", "The block has %d bytes, and must have %d", len(r.body), blocks.Size)
	case sum != r.sum:
		return invalid("INVALID_BLOCK", "The checksum does not match the block's data")
	case !s.open():
		return notPending(s)
	}
	if err := a.r.blocks.Put(sum, r.body); err != nil {
		return err
	}
	if err := s.put(a.r.blocks, index, sum, a.r.opt.Now()); errors.Is(err, errNotPending) {
		return notPending(s)
	} else if err != nil {
		return err
	}
	w.Header().Set("X-Amz-Checksum", r.Header.Get("X-Amz-Checksum"))
	w.Header().Set("X-Amz-Checksum-Algorithm", "SHA256")
	w.WriteHeader(http.StatusCreated)
	return nil
}

func notPending(s *snapshot) error {
	return invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is %s, and takes no blocks", s.ID, s.state())
}

// sentChecksum reads the checksum of a request, and its algorithm.
func sentChecksum(r *request, required bool) (sum blocks.Sum, err error) {
	text, algorithm := r.Header.Get("X-Amz-Checksum"), r.Header.Get("X-Amz-Checksum-Algorithm")
	if text == "" && algorithm == "" && !required {
		return sum, nil
	}
	if algorithm != "SHA256" {
		return sum, invalid("INVALID_PARAMETER_VALUE", "ChecksumAlgorithm must be SHA256")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != len(sum) {
		return sum, invalid("INVALID_PARAMETER_VALUE", "Checksum must be a SHA-256 in base64")
	}
	return blocks.Sum(b), nil
}

func (a *area) completeSnapshot(w http.ResponseWriter, r *request, id string) error {
	count, err := strconv.ParseInt(r.Header.Get("X-Amz-ChangedBlocksCount"), 10, 32)
	if err != nil || count < 0 {
		return invalid("INVALID_PARAMETER_VALUE", "ChangedBlocksCount must be an integer and not negative")
	}
	want, err := sentChecksum(r, false)
	if err != nil {
		return err
	}
	method := r.Header.Get("X-Amz-Checksum-Aggregation-Method")
	if checked := r.Header.Get("X-Amz-Checksum") != ""; checked != (method != "") || checked && method != "LINEAR" {
		return invalid("INVALID_PARAMETER_VALUE", "A checksum requires ChecksumAggregationMethod LINEAR, and the method a checksum")
	}
	s, err := a.find(id)
	if err != nil {
		return err
	}
	defer a.begin(r)()
	if !s.open() {
		return notPending(s)
	}
	n, sum := s.aggregate()
	switch {
	case int64(n) != count:
		return invalid("INVALID_PARAMETER_VALUE", "ChangedBlocksCount is %d, but %d blocks were put", count, n)
	case method != "" && sum != want:
		return invalid("INVALID_PARAMETER_VALUE", "The checksum does not match that of the blocks")
	}
	to := s.stage
	to.Put = n
	if err := a.advance(s, a.whole(to, a.effect)); err != nil {
		return err
	}
	writeJSON(w, http.StatusAccepted, struct{ Status string }{s.State})
	return nil
}

// aggregate returns how many blocks were put, and the LINEAR checksum: the SHA-256 of their digests, one
// after the other in the order of their indexes.
func (s *snapshot) aggregate() (n int, sum blocks.Sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.New()
	for _, index := range slices.Sorted(maps.Keys(s.own)) {
		b := s.own[index]
		h.Write(b[:])
	}
	h.Sum(sum[:0])
	return len(s.own), sum
}
