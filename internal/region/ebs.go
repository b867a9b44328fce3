package region

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"ingot/internal/region/sigv4"
)

// ebs is EBS direct: REST, JSON.
type ebs struct{}

var snapshotID = regexp.MustCompile(`^snap-[0-9a-f]{1,59}$`)

// operation is something that EBS direct can do, and how it is asked for: {id} and {index} in the path are its
// arguments.
type operation struct {
	method, path string
	do           func(a *area, w http.ResponseWriter, r *request, args []string) error
}

// operations are all that this EBS direct can do.
var operations = map[string]operation{
	"StartSnapshot": {http.MethodPost, "/snapshots", func(a *area, w http.ResponseWriter, r *request, _ []string) error {
		return a.startSnapshot(w, r)
	}},
	"PutSnapshotBlock": {http.MethodPut, "/snapshots/{id}/blocks/{index}", func(a *area, w http.ResponseWriter, r *request, args []string) error {
		return a.putSnapshotBlock(w, r, args[0], args[1])
	}},
	"CompleteSnapshot": {http.MethodPost, "/snapshots/completion/{id}", func(a *area, w http.ResponseWriter, r *request, args []string) error {
		return a.completeSnapshot(w, r, args[0])
	}},
	"ListSnapshotBlocks": {http.MethodGet, "/snapshots/{id}/blocks", func(a *area, w http.ResponseWriter, r *request, args []string) error {
		return a.listSnapshotBlocks(w, r, args[0])
	}},
	"ListChangedBlocks": {http.MethodGet, "/snapshots/{id}/changedblocks", func(a *area, w http.ResponseWriter, r *request, args []string) error {
		return a.listChangedBlocks(w, r, args[0])
	}},
	"GetSnapshotBlock": {http.MethodGet, "/snapshots/{id}/blocks/{index}", func(a *area, w http.ResponseWriter, r *request, args []string) error {
		return a.getSnapshotBlock(w, r, args[0], args[1])
	}},
}

// match returns the arguments in a request's path, if it is for this operation.
func (o operation) match(method, path string) (args []string, ok bool) {
	want, have := strings.Split(o.path, "/"), strings.Split(strings.TrimSuffix(path, "/"), "/")
	if method != o.method || len(want) != len(have) {
		return nil, false
	}
	for i, element := range want {
		if strings.HasPrefix(element, "{") {
			args = append(args, have[i])
		} else if element != have[i] {
			return nil, false
		}
	}
	return args, true
}

func (ebs) action(r *request) string {
	for name, o := range operations {
		if _, ok := o.match(r.Method, r.URL.Path); ok {
			return name
		}
	}
	return ""
}

func (e ebs) serve(w http.ResponseWriter, r *request) error {
	o := operations[e.action(r)]
	if o.do == nil {
		return unknownOperation()
	}
	args, _ := o.match(r.Method, r.URL.Path)
	return o.do(r.area, w, r, args)
}

func (ebs) refusals() refusals {
	return refusals{
		throttled:   apiError{http.StatusBadRequest, "RequestThrottledException", "ACCOUNT_THROTTLED", "The request was throttled: too many requests"},
		unavailable: apiError{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailableException", Message: "The service is unavailable"},
		forbidden:   apiError{Status: http.StatusForbidden, Code: "AccessDeniedException", Reason: "UNAUTHORIZED_ACCOUNT"},
	}
}

func unknownOperation() error {
	return &apiError{Status: http.StatusNotFound, Code: "UnknownOperationException", Message: "The requested operation does not exist"}
}

// invalid returns a refusal of a parameter, with one of the model's reasons.
func invalid(reason, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "ValidationException", reason, fmt.Sprintf(format, args...)}
}

func noSnapshot(id string) error {
	return &apiError{http.StatusNotFound, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND",
		"The snapshot '" + id + "' does not exist."}
}

func (ebs) fail(w http.ResponseWriter, _ string, err *apiError) {
	w.Header().Set("X-Amzn-ErrorType", err.Code)
	writeJSON(w, err.Status, struct {
		Message string
		Reason  string `json:",omitempty"`
	}{err.Message, err.Reason})
}

func (ebs) denied(err error) *apiError {
	e := &apiError{Status: http.StatusForbidden}
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		e.Code, e.Message = "MissingAuthenticationTokenException", "Missing Authentication Token"
	case errors.Is(err, sigv4.ErrMalformed):
		e.Code, e.Message = "IncompleteSignatureException", err.Error()
	case errors.Is(err, sigv4.ErrExpired):
		e.Code, e.Message = "InvalidSignatureException", "Signature expired: "+err.Error()
	case errors.Is(err, sigv4.ErrMismatch):
		e.Code, e.Message = "InvalidSignatureException", mismatch
	case errors.Is(err, errOldToken):
		e.Code, e.Message = "ExpiredTokenException", "The security token included in the request is expired"
	case errors.Is(err, errNoKey), errors.Is(err, errNoRegion):
		e.Code, e.Message = "UnrecognizedClientException", "The security token included in the request is invalid."
	default:
		e.Status, e.Code, e.Message = http.StatusInternalServerError, "InternalServerException", "An internal error has occurred."
	}
	return e
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: there is nobody left to tell
}

// find returns the snapshot that a path names.
func (a *area) find(id string) (*snapshot, error) {
	if !snapshotID.MatchString(id) {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot ID '%.100s' is not valid", id)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.snapshot(id); s != nil && a.visible(id) {
		return s, nil
	}
	return nil, noSnapshot(id)
}

// state returns a snapshot's state, for those who do not hold the area's lock.
func (s *snapshot) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.State
}

// readable returns the snapshot that a path names, if it can be read.
func (a *area) readable(id string) (*snapshot, error) {
	s, err := a.find(id)
	if err != nil {
		return nil, err
	}
	if state := s.state(); state != stateCompleted {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is %s, and must be completed", id, state)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.Public {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is public, and public snapshots are not supported", id)
	}
	return s, nil
}

// blockIndex reads a block's index from a path.
func blockIndex(s *snapshot, text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, invalid("INVALID_PARAMETER_VALUE", "The block index '%.40s' is not valid", text)
	}
	if n >= s.blockCount() {
		return 0, invalid("INVALID_BLOCK", "The block index %d is beyond the end of the volume of %d GiB", n, s.VolumeSize)
	}
	return int32(n), nil
}

// option reads an integer from the query string, 0 when it is not there.
func option(r *request, name string, least, most int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, invalid("INVALID_PARAMETER_VALUE", "%s must be between %d and %d", name, least, most)
	}
	return n, nil
}
