package region

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"ingot/internal/region/sigv4"
)

// session is who has assumed a role. Its token is the session itself, sealed: nothing is kept of it here.
type session struct {
	AccessKey string
	Arn       string // arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME
	ID        string // of the role, and the session's name
	Expires   time.Time
}

const longestToken = 4096

// seal is a digest over a text that only this region can make.
func (r *Region) seal(what, text string) []byte {
	h := hmac.New(sha256.New, r.secret)
	h.Write([]byte(what + "\x00" + text))
	return h.Sum(nil)
}

// sessionToken returns a session's token.
func (r *Region) sessionToken(s session) string {
	text, _ := json.Marshal(s) // strings and a time
	return base64.StdEncoding.EncodeToString(append(r.seal("session", string(text)), text...))
}

// sessionOf opens a token.
func (r *Region) sessionOf(token string) (s session, ok bool) {
	sealed, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(token) > longestToken || len(sealed) < sha256.Size {
		return s, false
	}
	text := string(sealed[sha256.Size:])
	ok = hmac.Equal(sealed[:sha256.Size], r.seal("session", text)) && json.Unmarshal([]byte(text), &s) == nil
	return s, ok
}

func (r *Region) sessionSecret(token string) string {
	return base64.StdEncoding.EncodeToString(r.seal("secret key", token))[:40]
}

// secretOf returns the secret key of who signed a request: the account itself, which has no token, or a session.
func (r *Region) secretOf(req *http.Request, sig *sigv4.Signature) (string, error) {
	token := req.Header.Get("X-Amz-Security-Token")
	if token == "" {
		if sig.AccessKey != r.opt.AccessKey {
			return "", errNoKey
		}
		return r.opt.SecretKey, nil
	}
	s, ok := r.sessionOf(token)
	switch {
	case !ok || sig.AccessKey != s.AccessKey:
		return "", errNoKey
	case !r.opt.Now().Before(s.Expires):
		return "", errOldToken
	}
	return r.sessionSecret(token), nil
}

var (
	roleARN     = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}):role/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,64})$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

type assumeRoleXML struct {
	AccessKey  string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	SecretKey  string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token      string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expiration string `xml:"AssumeRoleResult>Credentials>Expiration"`
	ID         string `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	Arn        string `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	RequestID  string `xml:"ResponseMetadata>RequestId"`
}

type assumeRoleIn struct {
	ARN        string `q:"RoleArn"`
	Name       string `q:"RoleSessionName"`
	Seconds    *int32 `q:"DurationSeconds"`
	ExternalID string `q:"ExternalId"` // no role here asks for one
}

// assumeRole gives temporary keys for a role of the account. Any role's name is one: there is no IAM here, and who has assumed a role
// may do what the account may. So a policy that is to leave the session less is refused, like all else that is not modelled.
func (a *area) assumeRole(r *request) (*assumeRoleXML, error) {
	in := assumeRoleIn{}
	if err := r.form.Decode(&in); err != nil {
		return nil, errorf("ValidationError", "%v", err)
	}
	arn, name, seconds := in.ARN, in.Name, int32(3600)
	if in.Seconds != nil {
		seconds = *in.Seconds
	}
	m := roleARN.FindStringSubmatch(arn)
	switch {
	case seconds < 900 || seconds > 43200:
		return nil, errorf("ValidationError", "Value '%d' at 'durationSeconds' failed to satisfy constraint: between 900 and 43200", seconds)
	case m == nil:
		return nil, errorf("ValidationError", "%.100s is invalid", arn)
	case !sessionName.MatchString(name):
		return nil, errorf("ValidationError", "Value '%.64s' at 'roleSessionName' failed to satisfy constraint: [\\w+=,.@-]*", name)
	case m[1] != a.r.opt.AccountID || !strings.HasPrefix(arn, "arn:"+a.partition()+":"):
		return nil, &apiError{Status: http.StatusForbidden, Code: "AccessDenied", Message: "User: " + a.caller() + " is not authorized to perform: sts:AssumeRole on resource: " + arn}
	}
	id := "AROA" + base64.RawURLEncoding.EncodeToString(a.r.seal("role", arn))[:16] + ":" + name
	s := session{AccessKey: "ASIA" + rand.Text()[:16], Arn: "arn:" + a.partition() + ":sts::" + m[1] + ":assumed-role/" + m[2] + "/" + name, ID: id,
		Expires: a.r.opt.Now().Add(time.Duration(seconds) * time.Second).UTC().Truncate(time.Second)}
	token := a.r.sessionToken(s)
	return &assumeRoleXML{s.AccessKey, a.r.sessionSecret(token), token, s.Expires.Format(time.RFC3339), id, s.Arn, r.id}, nil
}
