package region

import (
	"errors"
	"net/http"

	"ingot/internal/region/sigv4"
)

const (
	stsVersion   = "2011-06-15"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// sts is the Security Token Service as far as asking who one is, and assuming a role of the account.
type sts struct{}

type callerIdentityXML struct {
	Arn     string `xml:"GetCallerIdentityResult>Arn"`
	UserID  string `xml:"GetCallerIdentityResult>UserId"`
	Account string `xml:"GetCallerIdentityResult>Account"`
	ID      string `xml:"ResponseMetadata>RequestId"`
}

func (sts) action(r *request) string { return r.queryAction() }

func (sts) refusals() refusals {
	return refusals{
		throttled:   apiError{Status: http.StatusBadRequest, Code: "Throttling", Message: "Rate exceeded"},
		unavailable: apiError{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "Service is unavailable"},
		forbidden:   apiError{Status: http.StatusForbidden, Code: "AccessDenied"},
	}
}

func (sts) serve(w http.ResponseWriter, r *request) error {
	form, err := r.params()
	if err != nil {
		return err
	}
	action, version := form.Take("Action"), form.Take("Version")
	account := r.area.r.opt.AccountID
	who := callerIdentityXML{r.area.caller(), account, account, r.id}
	if s, ok := r.area.r.sessionOf(r.Header.Get("X-Amz-Security-Token")); ok {
		who.Arn, who.UserID = s.Arn, s.ID
	}
	var out any = who
	switch {
	case version == stsVersion && action == "GetCallerIdentity":
	case version == stsVersion && action == "AssumeRole":
		if out, err = r.area.assumeRole(r); err != nil {
			return err
		}
	default:
		return errorf("InvalidAction", "Could not find operation %.100s for version %.40s", action, version)
	}
	writeXML(w, http.StatusOK, action+"Response", stsNamespace, out)
	return nil
}

// caller is the ARN of who calls: the account itself.
func (a *area) caller() string {
	return "arn:" + a.partition() + ":iam::" + a.r.opt.AccountID + ":root"
}

type stsErrorXML struct {
	Type    string `xml:"Error>Type"`
	Code    string `xml:"Error>Code"`
	Message string `xml:"Error>Message"`
	ID      string `xml:"RequestId"`
}

func (sts) fail(w http.ResponseWriter, id string, err *apiError) {
	writeXML(w, err.Status, "ErrorResponse", stsNamespace, stsErrorXML{"Sender", err.Code, err.Message, id})
}

func (sts) denied(err error) *apiError {
	e := &apiError{Status: http.StatusForbidden}
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		e.Code, e.Message = "MissingAuthenticationToken", "Request is missing Authentication Token"
	case errors.Is(err, sigv4.ErrMalformed):
		e.Status, e.Code, e.Message = http.StatusBadRequest, "IncompleteSignature", err.Error()
	case errors.Is(err, sigv4.ErrExpired):
		e.Code, e.Message = "SignatureDoesNotMatch", "Signature expired: "+err.Error()
	case errors.Is(err, sigv4.ErrMismatch):
		e.Code, e.Message = "SignatureDoesNotMatch", mismatch
	case errors.Is(err, errOldToken):
		e.Code, e.Message = "ExpiredToken", "The security token included in the request is expired"
	case errors.Is(err, errNoKey), errors.Is(err, errNoRegion):
		e.Code, e.Message = "InvalidClientTokenId", "The security token included in the request is invalid."
	default:
		e.Status, e.Code, e.Message = http.StatusInternalServerError, "InternalFailure", "An internal error has occurred"
	}
	return e
}

// mismatch is what the services that use the common wording say to a wrong secret key.
const mismatch = "The request signature we calculated does not match the signature you provided. " +
	"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
