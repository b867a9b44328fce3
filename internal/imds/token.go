package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// tokens issues session tokens that carry their own end, sealed with a key of this process: a guest that
// asks for millions of them costs no memory.
type tokens struct {
	key [32]byte
	now func() time.Time
}

// A token is 16 bytes (the second it expires, and chance) and as much of their HMAC-SHA-256 as makes it
// 56 characters long, like those of EC2.
const tokenBody, tokenSize = 16, 40

func newTokens(now func() time.Time) *tokens {
	t := &tokens{now: now}
	_, _ = rand.Read(t.key[:]) // never fails
	return t
}

func (t *tokens) seal(body []byte) []byte {
	mac := hmac.New(sha256.New, t.key[:])
	mac.Write(body)
	return append(body, mac.Sum(nil)[:tokenSize-tokenBody]...)
}

// issue returns a token that is good for ttl seconds.
func (t *tokens) issue(ttl int) string {
	body := make([]byte, tokenBody, tokenSize)
	_, _ = rand.Read(body)
	binary.BigEndian.PutUint64(body, uint64(t.now().Unix()+int64(ttl)))
	return base64.URLEncoding.EncodeToString(t.seal(body))
}

// check returns how many seconds a token has left, and whether it is one of ours and has any.
func (t *tokens) check(token string) (left int, ok bool) {
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(raw) != tokenSize || !hmac.Equal(raw, t.seal(append([]byte(nil), raw[:tokenBody]...))) {
		return 0, false
	}
	left = int(int64(binary.BigEndian.Uint64(raw)) - t.now().Unix())
	return left, left > 0
}
