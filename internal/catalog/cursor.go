package catalog

import (
	"encoding/base64"
	"strconv"
	"strings"

	"ingot/internal/fault"
)

// After returns the cursor of the place behind a release in the order of List.
func After(r Release) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(r.Date.Unix(), 10) + " " + r.ID))
}

// ParseCursor returns what After was made of: the date in seconds since 1970, and the ID. It is for stores.
func ParseCursor(s string) (date int64, id string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		var at string
		at, id, _ = strings.Cut(string(raw), " ")
		date, err = strconv.ParseInt(at, 10, 64)
	}
	if err != nil {
		return 0, "", fault.Newf(fault.Input, "listing releases: %q is no cursor that a page before gave", s)
	}
	return date, id, nil
}
