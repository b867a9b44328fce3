package region

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"ingot/internal/httpserve"
	"ingot/internal/region/blocks"
	"ingot/internal/region/faults"
	"ingot/internal/region/query"
	"ingot/internal/region/sigv4"
)

// request is a request whose body was read and whose sender is known.
type request struct {
	*http.Request
	id     string // its x-amzn-RequestId
	body   []byte
	sum    blocks.Sum // of the body
	area   *area      // the region it is for
	form   *query.Form
	effect faults.Effect
}

// service speaks one AWS service's protocol.
type service interface {
	// action tells what a request asks for, "" where that cannot be told.
	action(r *request) string
	// serve answers, or returns an error for fail to write.
	serve(w http.ResponseWriter, r *request) error
	fail(w http.ResponseWriter, id string, err *apiError)
	// denied words the failures of authentication as the service does.
	denied(err error) *apiError
	// refusals are the service's words for what rules of faults do.
	refusals() refusals
}

// bodies holds buffers for request bodies: a block and one byte, so that a body that is too long shows.
var bodies = sync.Pool{New: func() any { return new([blocks.Size + 1]byte) }}

// ServeHTTP answers one request of a client.
func (r *Region) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	start := time.Now()
	req := &request{Request: hr, id: uuid.NewString()}
	w.Header().Set("X-Amzn-RequestId", req.id)
	sig, err := sigv4.Parse(hr.Header.Get("Authorization"))
	svc := r.service(sig, hr)
	if err != nil {
		err = svc.denied(err)
	} else {
		buf := bodies.Get().(*[blocks.Size + 1]byte)
		defer bodies.Put(buf)
		if err = r.read(req, sig, svc, buf[:]); err == nil {
			err = r.answer(w, req, svc, sig.Service)
		}
	}
	if err != nil {
		var ae *apiError
		if !errors.As(err, &ae) {
			r.opt.Log.Error("internal error", "request", req.id, "error", err)
			ae = svc.denied(err)
		}
		svc.fail(w, req.id, ae)
		r.opt.Log.Info("refused", "request", req.id, "method", hr.Method, "path", hr.URL.Path, "code", ae.Code,
			"message", ae.Message, "duration", time.Since(start))
	}
}

// service picks the protocol from the scope of the signature; without one, from the look of the request.
func (r *Region) service(sig *sigv4.Signature, hr *http.Request) service {
	switch {
	case sig == nil && strings.HasPrefix(hr.URL.Path, "/snapshots"), sig != nil && sig.Service == "ebs":
		return ebs{}
	case sig != nil && sig.Service == "sts":
		return sts{}
	case sig != nil && jsonServices[sig.Service] != nil:
		return jsonServices[sig.Service]
	case sig != nil && sig.Service == "s3", sig == nil && hr.URL.Path != "/": // the others are asked at the root alone
		return s3{}
	}
	return ec2{}
}

// read reads the body and checks who sent the request.
func (r *Region) read(req *request, sig *sigv4.Signature, svc service, buf []byte) error {
	if _, isS3 := svc.(s3); isS3 {
		return r.readS3(req, sig)
	}
	if _, isEC2 := svc.(ec2); isEC2 && sig.Service != "ec2" {
		return errorf("InvalidAction", "The local region serves ec2, ebs, s3, servicequotas, ssm and sts, not %.40s.", sig.Service)
	}
	var ok bool
	var err error
	if req.body, ok, err = readBody(req.Body, buf); err != nil {
		return errorf("MalformedQueryString", "The request's body ends early.")
	} else if !ok {
		return tooLarge(svc)
	}
	req.sum = sha256.Sum256(req.body)
	if err := r.authenticate(req, sig); err != nil {
		return svc.denied(err)
	}
	if req.area = r.areas[sig.Region]; req.area == nil {
		return svc.denied(errNoRegion)
	}
	return nil
}

func tooLarge(svc service) error {
	if _, ok := svc.(ebs); ok {
		return invalid("INVALID_BLOCK", "The block is larger than %d bytes", blocks.Size)
	}
	return errorf("RequestTooLarge", "The request is larger than %d bytes", blocks.Size)
}

var (
	errNoKey    = errors.New("the access key is not known")
	errOldToken = errors.New("the session has ended")
	errNoRegion = errors.New("the region is not enabled for the account")
)

func (r *Region) authenticate(req *request, sig *sigv4.Signature) error {
	secret, err := r.secretOf(req.Request, sig)
	if err != nil {
		return err
	}
	digest := hex.EncodeToString(req.sum[:])
	said := req.Header.Get("X-Amz-Content-Sha256")
	unsigned := req.Method == http.MethodPut // of all that is served here, PutSnapshotBlock alone may leave the payload unsigned
	switch {
	case said == sigv4.Unsigned && unsigned:
		digest = sigv4.Unsigned
	case said != "" && said != digest:
		return sigv4.ErrMismatch
	}
	err = sig.Verify(req.Request, digest, secret, r.opt.Signed())
	if said == "" && unsigned && errors.Is(err, sigv4.ErrMismatch) {
		err = sig.Verify(req.Request, sigv4.Unsigned, secret, r.opt.Signed())
	}
	return err
}

// Serve answers on a listener until ctx ends, and then lets requests finish. It does not close the Region.
func (r *Region) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute,
		WriteTimeout: 2 * time.Minute, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 32 << 10}
	return httpserve.Serve(ctx, l, srv, 5*time.Second)
}

// params reads the parameters of a query request: the body's of a POST, the URL's of a GET.
func (r *request) params() (*query.Form, error) {
	if r.form != nil {
		return r.form, nil
	}
	text := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if text != "" {
			text += "&"
		}
		text += string(bytes.TrimSpace(r.body))
	}
	form, err := query.Parse(text)
	r.form = form
	return form, queryError(err)
}

// queryAction returns the action of a query request.
func (r *request) queryAction() string {
	form, err := r.params()
	if err != nil {
		return ""
	}
	return form.Value("Action")
}

// queryError turns a refusal by the decoder into one by EC2.
func queryError(err error) error {
	var qe *query.Error
	if errors.As(err, &qe) {
		return errorf(qe.Code, "%s", qe.Message)
	}
	return err
}
