package alpm

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"ingot/internal/compress"
)

// Limits on an .MTREE; that of a package of 100,000 files has about 20 MB.
const (
	maxMtree   = 256 << 20 // bytes, decompressed
	maxEntries = 1_000_000
)

// MtreeEntry is what an .MTREE says of a file. What it does not say is zero.
type MtreeEntry struct {
	Path     string // below the root, without ./ before it; "." is the root
	Type     string // file, dir, link
	Mode     uint32 // permissions and set-id bits
	UID, GID int
	Size     int64     // of a file, in bytes
	Time     time.Time // UTC
	Link     string    // where a link points to
	MD5      string    // hexadecimal; newer packages have none
	SHA256   string    // hexadecimal
}

// ReadMtree reads an .MTREE: mtree(5) in the form in which libarchive writes it for packages (a full path on
// each line, /set and /unset for defaults), compressed or not.
func ReadMtree(r io.Reader) ([]MtreeEntry, error) {
	plain, err := compress.Reader(r, maxMtree)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	text, err := io.ReadAll(plain)
	if err != nil {
		return nil, err
	}
	var all []MtreeEntry
	var defaults MtreeEntry
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		switch words[0] {
		case "/set":
			err = defaults.set(words[1:])
		case "/unset":
			err = defaults.unset(words[1:])
		default:
			e := defaults
			if e.Path, err = mtreePath(words[0]); err == nil {
				err = e.set(words[1:])
			}
			if len(all) == maxEntries {
				return nil, fmt.Errorf("more than %d files", maxEntries)
			}
			all = append(all, e)
		}
		if err != nil {
			return nil, fmt.Errorf("line %.100q: %w", strings.TrimSpace(line), err)
		}
	}
	return all, nil
}

func (e *MtreeEntry) set(words []string) (err error) {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "type":
			e.Type = value
		case "mode":
			var mode uint64
			mode, err = strconv.ParseUint(value, 8, 12)
			e.Mode = uint32(mode)
		case "uid":
			e.UID, err = mtreeID(value)
		case "gid":
			e.GID, err = mtreeID(value)
		case "size":
			err = setNumber(&e.Size, value)
		case "time":
			e.Time, err = mtreeTime(value)
		case "link":
			e.Link, err = unescape(value)
		case "md5", "md5digest":
			e.MD5 = value
		case "sha256", "sha256digest":
			e.SHA256 = value
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unset takes defaults back.
func (e *MtreeEntry) unset(keys []string) error {
	var zero MtreeEntry
	for _, key := range keys {
		switch key {
		case "all":
			*e = zero
		case "type":
			e.Type = zero.Type
		case "mode":
			e.Mode = zero.Mode
		case "uid":
			e.UID = zero.UID
		case "gid":
			e.GID = zero.GID
		default:
			return fmt.Errorf("%.40q is no default that packages have", key)
		}
	}
	return nil
}

func mtreePath(word string) (string, error) {
	name, err := unescape(word)
	if err != nil || name == "." {
		return name, err
	}
	return cleanPath(strings.TrimPrefix(name, "./"))
}

func mtreeID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 31)
	return int(id), err
}

// mtreeTime reads SECONDS.NANOSECONDS; the second is a number of its own, 5.7 is 7 nanoseconds after 5.
func mtreeTime(text string) (time.Time, error) {
	whole, part, _ := strings.Cut(text, ".")
	var sec, nsec int64
	if err := setNumber(&sec, whole); err != nil {
		return time.Time{}, err
	}
	if part != "" {
		if err := setNumber(&nsec, part); err != nil || nsec >= 1e9 {
			return time.Time{}, fmt.Errorf("%q is no time", text)
		}
	}
	return time.Unix(sec, nsec).UTC(), nil
}

// unescape undoes the octal escapes of vis(3).
func unescape(text string) (string, error) {
	if !strings.Contains(text, `\`) {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			b.WriteByte(text[i])
			continue
		}
		if len(text) < i+4 {
			return "", errors.New("an escape is cut off")
		}
		c, err := strconv.ParseUint(text[i+1:i+4], 8, 8)
		if err != nil {
			return "", fmt.Errorf("%q is no octal escape", text[i:i+4])
		}
		b.WriteByte(byte(c))
		i += 3
	}
	return b.String(), nil
}
