package cloudtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// scope is the region and the service of a signature.
var scope = regexp.MustCompile(`Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/`)

// drain reads a body, and puts it back.
func drain(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// Action returns the action of a request, as a policy of IAM names it.
func Action(r *http.Request) string {
	m := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return ""
	}
	switch service := m[2]; service {
	case "ebs":
		return "ebs:" + ebsAction(r)
	case "s3":
		return "s3:" + s3Action(r)
	default:
		if target := r.Header.Get("X-Amz-Target"); target != "" { // the JSON protocol
			return service + ":" + target[strings.LastIndex(target, ".")+1:]
		}
		body, err := drain(r)
		form, formErr := url.ParseQuery(string(body))
		if err != nil || formErr != nil {
			return ""
		}
		return service + ":" + form.Get("Action")
	}
}

func ebsAction(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodPost && len(parts) == 1:
		return "StartSnapshot"
	case r.Method == http.MethodPost:
		return "CompleteSnapshot"
	case r.Method == http.MethodPut:
		return "PutSnapshotBlock"
	case len(parts) == 4:
		return "GetSnapshotBlock"
	case strings.HasSuffix(r.URL.Path, "/changedblocks"):
		return "ListChangedBlocks"
	}
	return "ListSnapshotBlocks"
}

// s3Action is the permission: HeadBucket and ListObjects need the same one, as do HeadObject and GetObject.
func s3Action(r *http.Request) string {
	object := strings.Contains(strings.Trim(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case query.Has("ownershipControls"):
		return "GetBucketOwnershipControls"
	case query.Has("acl"):
		return "PutObjectAcl"
	case r.Method == http.MethodDelete && object, query.Has("delete"):
		return "DeleteObject"
	case r.Method == http.MethodDelete:
		return "DeleteBucket"
	case r.Method == http.MethodPut && object:
		return "PutObject"
	case r.Method == http.MethodPut:
		return "CreateBucket"
	case object:
		return "GetObject"
	}
	return "ListBucket"
}

// Refuse answers as AWS does to who lacks a permission.
func Refuse(w http.ResponseWriter, r *http.Request, action string) {
	service, _, _ := strings.Cut(action, ":")
	message := "You are not authorized to perform this operation. User: arn:aws:iam::000000000000:user/test is not authorized to perform: " + action + " because no identity-based policy allows the " + action + " action"
	switch service {
	case "ec2":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>%s</Message></Error></Errors><RequestID>1</RequestID></Response>`, message)
	case "sts":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>%s</Message></Error></ErrorResponse>`, message)
	case "s3":
		w.WriteHeader(http.StatusForbidden)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `<Error><Code>AccessDenied</Code><Message>%s</Message></Error>`, message)
		}
	default:
		w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"__type":"AccessDeniedException","Message":%q}`, message)
	}
}
