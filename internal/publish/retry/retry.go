// Package retry makes attempts at calls to AWS until one succeeds or none can, and says what a failure means.
package retry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"ingot/internal/fault"
)

const (
	// AttemptLimit is how long one attempt may take, unless its policy says otherwise.
	AttemptLimit = 20 * time.Second
	// Settle is how long AWS may take until what it has made can be seen by all of its parts.
	Settle = 150 * time.Second

	attempts     = 6
	patience     = 2 * time.Minute
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

// Policy says how a call is repeated. The zero Policy is that of most calls.
type Policy struct {
	Grace    time.Duration               // how long "not found" may mean "not yet"
	Limit    time.Duration               // of one attempt; 0: AttemptLimit
	Patience time.Duration               // how long to go on while told to slow down; 0: 2 minutes. Such attempts do not count
	Before   func(context.Context) error // is called, without a limit, before each attempt; may be nil
	Failed   func(Class)                 // hears of each attempt that failed and will be repeated; may be nil
}

// Class says what can be done about a failed attempt.
type Class uint8

const (
	final     Class = iota // it will fail again
	Throttled              // slow down, then try again
	transient              // try again
	Unseen                 // what it is about may not have become visible yet
)

var (
	throttles = []string{"Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException",
		"TooManyRequestsException", "SlowDown", "EC2ThrottledException", "ConcurrentLimitExceededException", "BandwidthLimitExceeded"}
	transients = []string{"InternalError", "InternalFailure", "InternalServerException", "InternalServerError", "ServiceUnavailable",
		"ServiceUnavailableException", "Unavailable", "RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"}
	denials = []string{"UnauthorizedOperation", "Forbidden", // without a body: S3's answer to HEAD
		"AccessDenied", "AccessDeniedException", "AuthFailure", "OptInRequired", "Blocked",
		"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "ExpiredToken", "ExpiredTokenException", "RequestExpired", "OperationNotPermitted"}
	unseens  = []string{"ResourceNotFoundException", "InvalidSnapshot.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"}
	absences = []string{"NoSuchBucket", "NoSuchKey", "NotFound"}
	// retried are the reasons of a ValidationException that do not mean that the request was wrong.
	retried = []string{"WRITE_REQUEST_TIMEOUT", "CONFLICTING_BLOCK_UPDATE"}
)

// Code returns the error code of the service, or "".
func Code(err error) string {
	var ae smithy.APIError
	if errors.As(err, &ae) {
		return ae.ErrorCode()
	}
	return ""
}

// permanent is an error that has nothing to do with AWS.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent wraps what an attempt fails with for a reason of its own: it is not repeated.
func Permanent(err error) error { return permanent{err} }

func classify(err error) Class {
	var own permanent
	var validation *types.ValidationException
	var response *smithyhttp.ResponseError
	switch code := Code(err); {
	case errors.As(err, &own):
		return final
	case slices.Contains(throttles, code):
		return Throttled
	case slices.Contains(transients, code):
		return transient
	case slices.Contains(unseens, code):
		return Unseen
	case errors.As(err, &validation):
		if slices.Contains(retried, string(validation.Reason)) || strings.Contains(validation.ErrorMessage(), "Failed to read block data") {
			return transient
		}
		return final
	case code == "NotImplemented":
		return final
	case strings.HasPrefix(code, noRoom): // for a while: whoever calls knows of other types, or of another region
		return final
	case errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusInternalServerError:
		return transient
	case code != "":
		return final
	}
	return transient // no answer at all: the network, or a time limit
}

// noRoom is what the codes begin with that say that EC2 has nothing to give (InsufficientInstanceCapacity).
const noRoom = "Insufficient"

// unauthorized finds the permission in a refusal: a call may need more than the one of its own name.
var unauthorized = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)`)

// quota says whether a code is about a limit of the account, or of EC2.
func quota(code string) bool {
	return strings.HasSuffix(code, "LimitExceeded") || code == "ServiceQuotaExceededException" || strings.HasPrefix(code, noRoom)
}

// explain gives a failed call its kind.
func explain(action string, err error) error {
	code := Code(err)
	var own permanent
	mine := errors.As(err, &own)
	err = fmt.Errorf("%s: %w", action, err)
	switch {
	case mine:
		return err
	case slices.Contains(denials, code):
		if m := unauthorized.FindStringSubmatch(err.Error()); m != nil {
			action = m[1]
		}
		return fault.New(fault.Denied, err, "these credentials need the permission "+action+", and the region must be enabled for the account")
	case quota(code):
		return fault.New(fault.Quota, err, "have the quota raised for this region, or free some of it")
	case slices.Contains(absences, code):
		return fault.New(fault.Missing, err, "")
	case code == "" || classify(err) != final:
		return fault.New(fault.Unreachable, err, "run the same command again: it does what is left")
	}
	return fault.New(fault.Input, err, "")
}

// Call makes attempts at a call until one succeeds, none can, or limits end it. Between them it waits at random
// up to a growing limit. action is the permission that the call needs: "ebs:StartSnapshot".
func Call(ctx context.Context, action string, p Policy, attempt func(context.Context) error) error {
	begun, pause := time.Now(), firstPause
	for n := 1; ; {
		if p.Before != nil {
			if err := p.Before(ctx); err != nil {
				return fmt.Errorf("%s: %w", action, err)
			}
		}
		limit, cancel := context.WithTimeout(ctx, cmp.Or(p.Limit, AttemptLimit))
		err := attempt(limit)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", action, context.Cause(ctx))
		}
		c, waited := classify(err), time.Since(begun)
		again := false
		switch c {
		case Unseen:
			again = waited < p.Grace
		case Throttled:
			again = waited < cmp.Or(p.Patience, patience)
		case transient:
			again = n < attempts
			n++
		}
		if !again {
			return explain(action, err)
		}
		if p.Failed != nil {
			p.Failed(c)
		}
		if err := Sleep(ctx, time.Duration(rand.Int64N(int64(pause)))+pause/8); err != nil {
			return fmt.Errorf("%s: %w", action, err)
		}
		if pause = min(2*pause, longestPause); c == Throttled && p.Before != nil {
			pause = firstPause // what comes before attempts sets their pace
		}
	}
}

// Sleep waits for a time, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
