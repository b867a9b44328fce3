// Package lambda is the runtime of AWS Lambda for this program, as a provided.al2023 function whose bootstrap it is: it asks the
// runtime API for events and answers them
// (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"ingot/internal/fault"
)

// Error is how a function fails: Step Functions sees its type as the name of the error, and all of it as the cause.
type Error struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

// Func answers an event. ctx ends a little before Lambda's own limit. Exactly one of the results is nil.
type Func func(ctx context.Context, event json.RawMessage) (any, *Error)

// Address returns where the runtime API is, "" where this is no function of Lambda.
func Address() string { return os.Getenv("AWS_LAMBDA_RUNTIME_API") }

const (
	maxEvent = 8 << 20                // bytes; Lambda has 6 MB
	reserve  = 500 * time.Millisecond // for the answer, before the limit
)

// Serve answers events until ctx ends, one after the other. An error is one of the runtime API, after which Lambda starts anew.
func Serve(ctx context.Context, address string, f Func) error {
	base := "http://" + address + "/2018-06-01/runtime/invocation/"
	client := &http.Client{} // the next event may take hours to come
	for ctx.Err() == nil {
		resp, err := call(ctx, client, http.MethodGet, base+"next", nil)
		if err != nil {
			return fault.Newf(fault.Unreachable, "asking Lambda for the next event: %w", err)
		}
		id := resp.header.Get("Lambda-Runtime-Aws-Request-Id")
		limit, err := strconv.ParseInt(resp.header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
		if err != nil || id == "" {
			return fault.Newf(fault.Input, "an event of Lambda says neither its id nor its limit")
		}
		limited, cancel := context.WithDeadline(ctx, time.UnixMilli(limit).Add(-reserve))
		out, failed := f(limited, resp.body)
		cancel()
		path, v := id+"/response", out
		if failed != nil {
			path, v = id+"/error", any(failed)
		}
		text, err := json.Marshal(v)
		if err != nil {
			return fault.Newf(fault.Bug, "writing the answer to an event: %w", err)
		}
		if _, err := call(ctx, client, http.MethodPost, base+path, text); err != nil {
			return fault.Newf(fault.Unreachable, "answering an event of Lambda: %w", err)
		}
	}
	return nil
}

type reply struct {
	header http.Header
	body   []byte
}

func call(ctx context.Context, c *http.Client, method, url string, body []byte) (*reply, error) {
	rq, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(rq)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %.300s", resp.Status, text)
	}
	return &reply{resp.Header, text}, err
}
