package region

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// Tokens are what clients get and hand back: block tokens, page tokens. They carry a text and an expiry
// time, and a MAC binds them to what they are for, so none can be made up, swapped or used late.
const (
	tokenLife = 7 * 24 * time.Hour // as EBS direct's block tokens
	macLen    = 16
)

func (r *Region) mac(purpose string, payload []byte) []byte {
	h := hmac.New(sha256.New, r.secret)
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(payload)
	return h.Sum(nil)[:macLen]
}

// token returns a token for a purpose ("block snap-…"), in the alphabet of standard base64.
func (r *Region) token(purpose, text string) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(r.opt.Now().Add(tokenLife).Unix()))
	b = append(b, text...)
	return base64.StdEncoding.EncodeToString(append(r.mac(purpose, b), b...))
}

// redeem returns the text in a token, if it is one of ours for that purpose and not expired.
func (r *Region) redeem(purpose, token string) (text string, ok bool) {
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) < macLen+8 || !hmac.Equal(b[:macLen], r.mac(purpose, b[macLen:])) {
		return "", false
	}
	expiry := time.Unix(int64(binary.BigEndian.Uint64(b[macLen:])), 0)
	return string(b[macLen+8:]), r.opt.Now().Before(expiry)
}

// paged is embedded in the input of the EC2 actions that return their list in pages.
type paged struct {
	MaxResults *int32 `q:"MaxResults"`
	NextToken  string `q:"NextToken"`
}

// page sorts a list by key, and cuts one page out of it. The next one begins behind the last key of this one, whatever came and went in
// between. least is the smallest size of a page that the action allows; byID says that the request named its objects, which excludes a
// page size.
func page[T any](r *Region, action string, p paged, least int32, byID bool, all []T, key func(T) string) (items []T, next string, err error) {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	if p.NextToken != "" {
		last, ok := r.redeem(action, p.NextToken)
		if !ok {
			return nil, "", errorf("InvalidNextToken", "The specified NextToken is not valid.")
		}
		from := slices.IndexFunc(all, func(item T) bool { return key(item) > last })
		if from < 0 {
			from = len(all)
		}
		all = all[from:]
	}
	if p.MaxResults == nil {
		return all, "", nil
	}
	switch size := *p.MaxResults; {
	case byID:
		return nil, "", errorf("InvalidParameterCombination", "The parameter for ids cannot be used with the parameter maxResults")
	case size < least || size > 1000:
		return nil, "", errorf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and 1000.", size, least)
	case int(size) >= len(all):
		return all, "", nil
	default:
		return all[:size], r.token(action, key(all[size-1])), nil
	}
}
