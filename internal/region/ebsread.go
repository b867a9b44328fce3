package region

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"

	"ingot/internal/region/blocks"
)

const (
	minPage = 100
	maxPage = 10000
)

type blockList struct {
	Blocks        []blockJSON   `json:",omitempty"`
	ChangedBlocks []changedJSON `json:",omitempty"`
	ExpiryTime    json.Number
	VolumeSize    int64
	BlockSize     int
	NextToken     string `json:",omitempty"`
}

type blockJSON struct {
	BlockIndex int32
	BlockToken string
}

type changedJSON struct {
	BlockIndex       int32
	FirstBlockToken  string `json:",omitempty"`
	SecondBlockToken string `json:",omitempty"`
}

// blockToken returns a token for reading a block of a snapshot.
func (a *area) blockToken(s *snapshot, index int32) string {
	return a.r.token(blockPurpose(s), strconv.Itoa(int(index)))
}

func blockPurpose(s *snapshot) string { return "block " + s.ID }

// pick returns a page: out of the sorted indexes of all blocks, those that a list request asks for.
func (a *area) pick(r *request, purpose string, all []int32) (indexes []int32, next string, err error) {
	size, err := option(r, "maxResults", minPage, maxPage)
	if err != nil {
		return nil, "", err
	}
	if size == 0 {
		size = maxPage
	}
	from, err := option(r, "startingBlockIndex", 0, math.MaxInt32)
	if err != nil {
		return nil, "", err
	}
	if t := r.URL.Query().Get("pageToken"); t != "" {
		first, ok := a.r.redeem(purpose, t)
		if from, err = strconv.ParseInt(first, 10, 32); !ok || err != nil {
			return nil, "", invalid("INVALID_PAGE_TOKEN", "The page token is not valid")
		}
	}
	start, _ := slices.BinarySearch(all, int32(from))
	all = all[start:]
	if int64(len(all)) > size {
		next, all = a.r.token(purpose, strconv.Itoa(int(all[size]))), all[:size]
	}
	return all, next, nil
}

func (a *area) blockList(s *snapshot) blockList {
	return blockList{ExpiryTime: epoch(a.r.opt.Now().Add(tokenLife)), VolumeSize: s.VolumeSize, BlockSize: blocks.Size}
}

func (a *area) listSnapshotBlocks(w http.ResponseWriter, r *request, id string) error {
	s, err := a.readable(id)
	if err != nil {
		return err
	}
	view := s.view()
	indexes, next, err := a.pick(r, "list "+id, slices.Sorted(maps.Keys(view)))
	if err != nil {
		return err
	}
	out := a.blockList(s)
	out.NextToken = next
	for _, i := range indexes {
		out.Blocks = append(out.Blocks, blockJSON{i, a.blockToken(s, i)})
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *area) listChangedBlocks(w http.ResponseWriter, r *request, id string) error {
	second, err := a.readable(id)
	if err != nil {
		return err
	}
	first, before := second, map[int32]blocks.Sum{}
	if firstID := r.URL.Query().Get("firstSnapshotId"); firstID != "" {
		if first, err = a.readable(firstID); err != nil {
			return err
		}
		if first.Lineage != second.Lineage {
			return invalid("UNRELATED_SNAPSHOTS", "The snapshots are not of the same volume")
		}
		before = first.view()
	}
	after := second.view()
	var changed []int32
	for i, sum := range after {
		if old, ok := before[i]; !ok || old != sum {
			changed = append(changed, i)
		}
	}
	for i := range before {
		if _, ok := after[i]; !ok {
			changed = append(changed, i)
		}
	}
	slices.Sort(changed)
	indexes, next, err := a.pick(r, fmt.Sprintf("changed %s %s", first.ID, second.ID), changed)
	if err != nil {
		return err
	}
	out := a.blockList(second)
	out.NextToken = next
	for _, i := range indexes {
		c := changedJSON{BlockIndex: i}
		if _, ok := before[i]; ok {
			c.FirstBlockToken = a.blockToken(first, i)
		}
		if _, ok := after[i]; ok {
			c.SecondBlockToken = a.blockToken(second, i)
		}
		out.ChangedBlocks = append(out.ChangedBlocks, c)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *area) getSnapshotBlock(w http.ResponseWriter, r *request, id, indexText string) error {
	s, err := a.readable(id)
	if err != nil {
		return err
	}
	index, err := blockIndex(s, indexText)
	if err != nil {
		return err
	}
	if of, ok := a.r.redeem(blockPurpose(s), r.URL.Query().Get("blockToken")); !ok || of != strconv.Itoa(int(index)) {
		return invalid("INVALID_BLOCK_TOKEN", "The block token is not valid for block %d", index)
	}
	s.mu.Lock()
	sum, ok := s.own[index]
	if !ok {
		sum = s.base[index]
	}
	s.mu.Unlock()
	buf := bodies.Get().(*[blocks.Size + 1]byte)
	defer bodies.Put(buf)
	if err := a.r.blocks.Get(sum, buf[:]); err != nil {
		return err
	}
	h := w.Header()
	h.Set("X-Amz-Checksum", base64.StdEncoding.EncodeToString(sum[:]))
	h.Set("X-Amz-Checksum-Algorithm", "SHA256")
	h.Set("X-Amz-Data-Length", strconv.Itoa(blocks.Size))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(blocks.Size))
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(buf[:blocks.Size])
	_ = err // the client has gone: there is nobody left to tell
	return nil
}
