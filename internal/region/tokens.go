package region

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Tokens are what clients get and hand back: block tokens, page tokens. They carry a number and an expiry
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
func (r *Region) token(purpose string, n int64) string {
	b := make([]byte, 16, 16+macLen)
	binary.BigEndian.PutUint64(b, uint64(r.opt.Now().Add(tokenLife).Unix()))
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	return base64.StdEncoding.EncodeToString(append(b, r.mac(purpose, b)...))
}

// redeem returns the number in a token, if it is one of ours for that purpose and not expired.
func (r *Region) redeem(purpose, token string) (n int64, ok bool) {
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) != 16+macLen || !hmac.Equal(b[16:], r.mac(purpose, b[:16])) {
		return 0, false
	}
	expiry := time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	return int64(binary.BigEndian.Uint64(b[8:])), r.opt.Now().Before(expiry)
}

// paged is embedded in the input of the EC2 actions that return their list in pages.
type paged struct {
	MaxResults *int32 `q:"MaxResults"`
	NextToken  string `q:"NextToken"`
}

// page cuts one page out of a list that is always in the same order. least is the smallest size of a page
// that the action allows; byID says that the request named its objects, which excludes a page size.
func page[T any](r *Region, action string, p paged, least int32, byID bool, all []T) (items []T, next string, err error) {
	from := 0
	if p.NextToken != "" {
		n, ok := r.redeem(action, p.NextToken)
		if !ok {
			return nil, "", errorf("InvalidNextToken", "The specified NextToken is not valid.")
		}
		from = min(int(n), len(all))
	}
	if p.MaxResults == nil {
		return all[from:], "", nil
	}
	switch size := *p.MaxResults; {
	case byID:
		return nil, "", errorf("InvalidParameterCombination", "The parameter for ids cannot be used with the parameter maxResults")
	case size < least || size > 1000:
		return nil, "", errorf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and 1000.", size, least)
	case from+int(size) >= len(all):
		return all[from:], "", nil
	default:
		return all[from : from+int(size)], r.token(action, int64(from)+int64(size)), nil
	}
}
