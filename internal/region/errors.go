package region

import (
	"fmt"
	"net/http"
)

// apiError is a refusal in the words of AWS. Each service writes it down in its own form.
type apiError struct {
	Status  int
	Code    string
	Reason  string // EBS direct alone has it
	Message string
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// statuses are those of the EC2 codes that are not plain 400s.
var statuses = map[string]int{
	"AuthFailure":                http.StatusUnauthorized,
	"UnauthorizedOperation":      http.StatusForbidden,
	"MissingAuthenticationToken": http.StatusForbidden,
	"DryRunOperation":            http.StatusPreconditionFailed,
	"RequestTooLarge":            http.StatusRequestEntityTooLarge,
	"InternalError":              http.StatusInternalServerError,
}

// errorf returns a refusal by EC2.
func errorf(code, format string, args ...any) *apiError {
	status := statuses[code]
	if status == 0 {
		status = http.StatusBadRequest
	}
	return &apiError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// dryRun is embedded in the input of every EC2 action.
type dryRun struct {
	DryRun bool `q:"DryRun"`
}

// dry returns the refusal that a dry run which would have succeeded gets. Call it after validation.
func (d dryRun) dry() error {
	if d.DryRun {
		return errorf("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	return nil
}
