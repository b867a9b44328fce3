package region

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"ingot/internal/region/sigv4"
)

// jsonService is a service of the AWS JSON 1.1 protocol: the action in a header, JSON in and out.
type jsonService struct {
	name      string // as in the scope of a signature
	prefix    string // of the header, before the action
	throttled string // the code for too many requests
	actions   map[string]func(*area, *request) (any, error)
}

// jsonServices are those that there are, by the name in the scope of a signature.
var jsonServices = map[string]*jsonService{
	"ssm": {"ssm", "AmazonSSM", "ThrottlingException", map[string]func(*area, *request) (any, error){
		"AddTagsToResource":      handleJSON((*area).addParameterTags),
		"DeleteParameter":        handleJSON((*area).deleteParameter),
		"DeleteParameters":       handleJSON((*area).deleteParameters),
		"DescribeParameters":     handleJSON((*area).describeParameters),
		"GetParameter":           handleJSON((*area).getParameter),
		"GetParameters":          handleJSON((*area).getParameters),
		"GetParametersByPath":    handleJSON((*area).getParametersByPath),
		"ListTagsForResource":    handleJSON((*area).listParameterTags),
		"PutParameter":           handleJSON((*area).putParameter),
		"RemoveTagsFromResource": handleJSON((*area).removeParameterTags),
	}},
	"servicequotas": {"servicequotas", "ServiceQuotasV20190624", "TooManyRequestsException", map[string]func(*area, *request) (any, error){
		"GetAWSDefaultServiceQuota": handleJSON((*area).getDefaultQuota),
		"GetServiceQuota":           handleJSON((*area).getServiceQuota),
		"ListServiceQuotas":         handleJSON((*area).listServiceQuotas),
	}},
}

// decodeJSON decodes a body that is one JSON document. A member that the input does not have is refused: it would mean something.
func (r *request) decodeJSON(in any) error {
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.DisallowUnknownFields()
	err := dec.Decode(in)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("there is more behind it")
	}
	return errorf("SerializationException", "The request's JSON is malformed, or has a member that the local region does not know: %v", err)
}

// handleJSON makes an action out of a function that takes its decoded input.
func handleJSON[In any](f func(*area, *In) (any, error)) func(*area, *request) (any, error) {
	return func(a *area, r *request) (any, error) {
		in := new(In)
		if err := r.decodeJSON(in); err != nil {
			return nil, err
		}
		defer a.begin(r)()
		return f(a, in)
	}
}

func (s *jsonService) action(r *request) string {
	action, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), s.prefix+".")
	if !ok {
		return ""
	}
	return action
}

func (s *jsonService) serve(w http.ResponseWriter, r *request) error {
	action := s.action(r)
	do := s.actions[action]
	if do == nil || r.Method != http.MethodPost {
		return errorf("UnknownOperationException", "The local region has no operation %.100s of %s", r.Header.Get("X-Amz-Target"), s.name)
	}
	out, err := do(r.area, r)
	if err != nil {
		return err
	}
	r.area.r.opt.Log.Info("done", "request", r.id, "region", r.area.name, "service", s.name, "action", action)
	w.Header().Set("Content-Type", jsonType)
	_ = json.NewEncoder(w).Encode(out) // the client has gone: there is nobody left to tell
	return nil
}

func (s *jsonService) refusals() refusals {
	return refusals{
		throttled:   apiError{Status: http.StatusBadRequest, Code: s.throttled, Message: "Rate exceeded"},
		unavailable: apiError{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailableException", Message: "Service is unavailable"},
		forbidden:   apiError{Status: http.StatusBadRequest, Code: "AccessDeniedException"},
	}
}

const jsonType = "application/x-amz-json-1.1"

func (s *jsonService) fail(w http.ResponseWriter, _ string, err *apiError) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(err.Status)
	_ = json.NewEncoder(w).Encode(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{err.Code, err.Message})
}

func (s *jsonService) denied(err error) *apiError {
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		return errorf("MissingAuthenticationTokenException", "Missing Authentication Token")
	case errors.Is(err, sigv4.ErrMalformed):
		return errorf("IncompleteSignatureException", "%v", err)
	case errors.Is(err, sigv4.ErrExpired):
		return errorf("InvalidSignatureException", "Signature expired: %v", err)
	case errors.Is(err, sigv4.ErrMismatch):
		return errorf("InvalidSignatureException", mismatch)
	case errors.Is(err, errOldToken):
		return errorf("ExpiredTokenException", "The security token included in the request is expired")
	case errors.Is(err, errNoKey), errors.Is(err, errNoRegion):
		return errorf("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	return &apiError{Status: http.StatusInternalServerError, Code: "InternalServerError", Message: "An internal error has occurred"}
}

// jsonPage cuts one page out of a list, as page does, in the words of the JSON services. most is the size of a page
// where the request does not say, and the largest.
func jsonPage[T any](r *Region, action string, size *int32, token string, most int32, badToken string, all []T, key func(T) string) ([]T, string, error) {
	if size != nil && (*size < 1 || *size > most) {
		return nil, "", errorf("ValidationException", "1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: "+
			"Member must have value between 1 and %d", *size, most)
	}
	if size == nil {
		size = &most
	}
	items, next, err := page(r, action, paged{size, token}, 1, false, all, key)
	if err != nil {
		err = errorf(badToken, "The specified token is not valid.")
	}
	return items, next, err
}
