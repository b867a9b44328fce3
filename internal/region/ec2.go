package region

import (
	"cmp"
	"encoding/xml"
	"errors"
	"net/http"
	"time"

	"ingot/internal/region/sigv4"
)

const (
	ec2Version   = "2016-11-15"
	ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
	timeLayout   = "2006-01-02T15:04:05.000Z"
)

func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// ec2 is the EC2 query protocol: form parameters in, XML out.
type ec2 struct{}

// reply is embedded in every EC2 response.
type reply struct {
	RequestID string `xml:"requestId"`
}

func (r *reply) sign(id string) { r.RequestID = id }

// list is a list in a response. It is written even when it is empty, as EC2 does: boto3 has no key for a
// list that is not there.
type list[T any] struct {
	Items []T `xml:"item"`
}

type response interface{ sign(id string) }

// done is the response of the actions that only say that they succeeded.
type done struct {
	reply
	Return bool `xml:"return"`
}

// actions are all that this EC2 can do. Each runs alone in its region.
var actions = map[string]func(*area, *request) (response, error){
	"AttachVolume":                         handle((*area).attachVolume),
	"AuthorizeSecurityGroupEgress":         handle((*area).authorizeEgress),
	"AuthorizeSecurityGroupIngress":        handle((*area).authorizeIngress),
	"CopyImage":                            handleFrom((*area).copyImage),
	"CopySnapshot":                         handleFrom((*area).copySnapshot),
	"CreateImageUsageReport":               handle((*area).createImageUsageReport),
	"CreateKeyPair":                        handle((*area).createKeyPair),
	"CreateLaunchTemplate":                 handle((*area).createTemplate),
	"CreateLaunchTemplateVersion":          handle((*area).createTemplateVersion),
	"CreateSecurityGroup":                  handle((*area).createGroup),
	"CreateSnapshot":                       handle((*area).createSnapshot),
	"CreateSnapshots":                      handle((*area).createSnapshots),
	"CreateTags":                           handle((*area).createTags),
	"CreateVolume":                         handle((*area).createVolume),
	"DeleteImageUsageReport":               handle((*area).deleteImageUsageReport),
	"DeleteKeyPair":                        handle((*area).deleteKeyPair),
	"DeleteLaunchTemplate":                 handle((*area).deleteTemplate),
	"DeleteSecurityGroup":                  handle((*area).deleteGroup),
	"DeleteSnapshot":                       handle((*area).deleteSnapshot),
	"DeleteTags":                           handle((*area).deleteTags),
	"DeleteVolume":                         handle((*area).deleteVolume),
	"DeregisterImage":                      handle((*area).deregisterImage),
	"DescribeAvailabilityZones":            handle((*area).describeZones),
	"DescribeImageAttribute":               handle((*area).describeImageAttribute),
	"DescribeImageReferences":              handle((*area).describeImageReferences),
	"DescribeImageUsageReportEntries":      handle((*area).describeImageUsageReportEntries),
	"DescribeImageUsageReports":            handle((*area).describeImageUsageReports),
	"DescribeImages":                       handle((*area).describeImages),
	"DescribeInstanceAttribute":            handle((*area).describeInstanceAttribute),
	"DescribeInstanceStatus":               handle((*area).describeInstanceStatus),
	"DescribeInstances":                    handle((*area).describeInstances),
	"DescribeKeyPairs":                     handle((*area).describeKeyPairs),
	"DescribeLaunchTemplateVersions":       handle((*area).describeVersions),
	"DescribeLaunchTemplates":              handle((*area).describeTemplates),
	"DescribeNetworkInterfaces":            handle((*area).describeInterfaces),
	"DescribeRegions":                      handle((*area).describeRegions),
	"DescribeSecurityGroups":               handle((*area).describeGroups),
	"DescribeSnapshotAttribute":            handle((*area).describeSnapshotAttribute),
	"DescribeSnapshots":                    handle((*area).describeSnapshots),
	"DescribeSubnets":                      handle((*area).describeSubnets),
	"DescribeTags":                         handle((*area).describeTags),
	"DescribeVolumes":                      handle((*area).describeVolumes),
	"DescribeVolumesModifications":         handle((*area).describeModifications),
	"DescribeVpcs":                         handle((*area).describeVpcs),
	"DetachVolume":                         handle((*area).detachVolume),
	"DisableImage":                         handle((*area).disableImage),
	"DisableImageBlockPublicAccess":        handle((*area).disableImageBlock),
	"DisableImageDeprecation":              handle((*area).disableImageDeprecation),
	"DisableImageDeregistrationProtection": handle((*area).unprotectImage),
	"DisableSnapshotBlockPublicAccess":     handle((*area).disableSnapshotBlock),
	"EnableImage":                          handle((*area).enableImage),
	"EnableImageBlockPublicAccess":         handle((*area).enableImageBlock),
	"EnableImageDeprecation":               handle((*area).enableImageDeprecation),
	"EnableImageDeregistrationProtection":  handle((*area).protectImage),
	"EnableSnapshotBlockPublicAccess":      handle((*area).enableSnapshotBlock),
	"GetConsoleOutput":                     handle((*area).getConsoleOutput),
	"GetEbsEncryptionByDefault":            handle((*area).getEncryptionDefault),
	"GetImageBlockPublicAccessState":       handle((*area).getImageBlock),
	"GetSnapshotBlockPublicAccessState":    handle((*area).snapshotBlockState),
	"ImportKeyPair":                        handle((*area).importKeyPair),
	"ModifyImageAttribute":                 handle((*area).modifyImageAttribute),
	"ModifyInstanceAttribute":              handle((*area).modifyInstanceAttribute),
	"ModifyLaunchTemplate":                 handle((*area).modifyTemplate),
	"ModifySnapshotAttribute":              handle((*area).modifySnapshotAttribute),
	"ModifyVolume":                         handle((*area).modifyVolume),
	"RebootInstances":                      handle((*area).rebootInstances),
	"RegisterImage":                        handle((*area).registerImage),
	"ResetImageAttribute":                  handle((*area).resetImageAttribute),
	"ResetSnapshotAttribute":               handle((*area).resetSnapshotAttribute),
	"RevokeSecurityGroupEgress":            handle((*area).revokeEgress),
	"RevokeSecurityGroupIngress":           handle((*area).revokeIngress),
	"RunInstances":                         handle((*area).runInstances),
	"StartInstances":                       handle((*area).startInstances),
	"StopInstances":                        handle((*area).stopInstances),
	"TerminateInstances":                   handle((*area).terminateInstances),
}

// handle makes an action out of a function that takes its decoded input.
func handle[In any, Out response](f func(*area, *In) (Out, error)) func(*area, *request) (response, error) {
	return func(a *area, r *request) (response, error) {
		in := new(In)
		if err := r.form.Decode(in); err != nil {
			return nil, queryError(err)
		}
		defer a.begin(r)()
		out, err := f(a, in)
		if err != nil {
			return nil, err // not out: a nil pointer in it would not be a nil response
		}
		return out, nil
	}
}

func (ec2) action(r *request) string { return r.queryAction() }

func (ec2) serve(w http.ResponseWriter, r *request) error {
	form, err := r.params()
	if err != nil {
		return err
	}
	action, version := form.Take("Action"), form.Take("Version")
	if action == "" {
		return errorf("MissingAction", "The request is missing an action or a required parameter.")
	}
	do := actions[action]
	switch {
	case do == nil:
		return errorf("InvalidAction", "The action %.100s is not valid for this web service.", action)
	case version != ec2Version:
		return errorf("NoSuchVersion", "The requested version (%.40s) of service AmazonEC2 does not exist", version)
	}
	out, err := do(r.area, r)
	if err != nil {
		return err
	}
	out.sign(r.id)
	r.area.r.opt.Log.Info("done", "request", r.id, "region", r.area.name, "action", action)
	writeXML(w, http.StatusOK, action+"Response", ec2Namespace, out)
	return nil
}

type errorXML struct {
	Code    string `xml:"Errors>Error>Code"`
	Message string `xml:"Errors>Error>Message"`
	ID      string `xml:"RequestID"`
}

func (ec2) fail(w http.ResponseWriter, id string, err *apiError) {
	writeXML(w, err.Status, "Response", "", errorXML{err.Code, err.Message, id})
}

func (ec2) denied(err error) *apiError {
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		return errorf("MissingAuthenticationToken", "Request is missing Authentication Token")
	case errors.Is(err, sigv4.ErrMalformed):
		e := errorf("IncompleteSignature", "%s", err)
		return e
	case errors.Is(err, sigv4.ErrExpired), errors.Is(err, errOldToken):
		return errorf("RequestExpired", "Request has expired. %s", err)
	case errors.Is(err, sigv4.ErrMismatch), errors.Is(err, errNoKey), errors.Is(err, errNoRegion):
		return errorf("AuthFailure", "AWS was not able to validate the provided access credentials")
	}
	return errorf("InternalError", "An internal error has occurred")
}

func (ec2) refusals() refusals {
	return refusals{
		throttled:   apiError{Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded", Message: "Request limit exceeded."},
		unavailable: apiError{Status: http.StatusServiceUnavailable, Code: "Unavailable", Message: "The service is unavailable. Please try again shortly."},
		forbidden:   apiError{Status: http.StatusForbidden, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. "},
	}
}

// writeXML writes a whole response. What it is given are our own structs, which always marshal.
func writeXML(w http.ResponseWriter, status int, name, namespace string, v any) {
	start := xml.StartElement{Name: xml.Name{Local: name}}
	if namespace != "" {
		start.Attr = []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(cmp.Or(status, http.StatusOK))
	_, err := w.Write([]byte(xml.Header))
	if err == nil {
		err = xml.NewEncoder(w).EncodeElement(v, start)
	}
	_ = err // the client has gone: there is nobody left to tell
}
