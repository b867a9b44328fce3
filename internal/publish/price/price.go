// Package price says what publishing costs, from a table that is data with a date and sources: ingot asks no price list.
package price

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"ingot/internal/fault"
)

// Item is what a price is of.
type Item string

// The items, in the units of the table.
const (
	Snapshot Item = "snapshot" // a GB-month
	Put      Item = "put"      // a thousand blocks
	Transfer Item = "transfer" // a GB, by the region that it leaves
	Store    Item = "store"    // a GB-month
	Volume   Item = "volume"   // a GB-month of gp3
)

var items = []Item{Snapshot, Put, Transfer, Store, Volume}

// Row is a price.
type Row struct {
	Item   Item    `yaml:"item"`
	Region string  `yaml:"region"` // "": of those that have none of their own
	USD    float64 `yaml:"usd"`
	AsOf   string  `yaml:"as_of"`
	Source string  `yaml:"source"`
}

// Table is a table of prices.
type Table struct {
	Date string `yaml:"date"` // when it was put together
	Rows []Row  `yaml:"prices"`
}

//go:embed prices.yaml
var own []byte

const mostBytes = 1 << 20

// Load reads a table from a file, and ingot's own where path is "". Errors have the kind fault.Input.
func Load(path string) (*Table, error) {
	text, name := own, "ingot's own table"
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fault.Newf(fault.Input, "reading prices: %w", err)
		}
		defer f.Close()
		if text, err = io.ReadAll(io.LimitReader(f, mostBytes+1)); err != nil {
			return nil, fault.Newf(fault.Input, "reading prices: %w", err)
		}
		name = path
	}
	t, err := parse(text)
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("reading prices from %s: %w", name, err), "docs/publishing.md shows the form")
	}
	return t, nil
}

func parse(text []byte) (*Table, error) {
	if len(text) > mostBytes {
		return nil, errors.New("it is larger than 1 MiB")
	}
	var t Table
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&t); err != nil {
		return nil, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	seen := map[Row]bool{}
	for _, r := range t.Rows {
		key := Row{Item: r.Item, Region: r.Region}
		switch {
		case !slices.Contains(items, r.Item):
			return nil, fmt.Errorf("there is no item %q", r.Item)
		case !(r.USD >= 0 && r.USD < 1000):
			return nil, fmt.Errorf("%v is no price of %s", r.USD, r.Item)
		case seen[key]:
			return nil, fmt.Errorf("%s has two prices in %q", r.Item, r.Region)
		}
		seen[key] = true
	}
	for _, item := range items {
		if !seen[Row{Item: item}] {
			return nil, fmt.Errorf("%s has no price for regions that have none of their own", item)
		}
	}
	if t.Date == "" {
		return nil, errors.New("it has no date")
	}
	return &t, nil
}

// of returns a price in a region, and whether it is only assumed.
func (t *Table) of(item Item, region string) (usd float64, assumed bool) {
	for _, r := range t.Rows {
		if r.Item == item && (r.Region == region || r.Region == "") {
			if usd, assumed = r.USD, r.Region == ""; !assumed {
				break
			}
		}
	}
	return usd, assumed
}

// Cost is what something costs, in US dollars.
type Cost struct {
	Once    float64 `json:"once_usd"`
	Monthly float64 `json:"monthly_usd"`
	Assumed bool    `json:"assumed"` // some price is not known for this region, and another one's was taken
}

// Add returns the sum.
func (c Cost) Add(d Cost) Cost {
	return Cost{c.Once + d.Once, c.Monthly + d.Monthly, c.Assumed || d.Assumed}
}

const gib = 1 << 30

// Upload returns what a snapshot costs into which so many blocks of so many bytes are put.
func (t *Table) Upload(region string, blocks int, blockSize int64) Cost {
	put, a := t.of(Put, region)
	c := t.Keep(Snapshot, region, int64(blocks)*blockSize)
	return c.Add(Cost{Once: float64(blocks) / 1000 * put, Assumed: a && blocks > 0 && t.varies(Put)})
}

// Copy returns what a snapshot of so many bytes costs that is copied.
func (t *Table) Copy(from, to string, size int64) Cost {
	transfer, a := t.of(Transfer, from)
	return t.Keep(Snapshot, to, size).Add(Cost{Once: float64(size) / gib * transfer, Assumed: a})
}

// Keep returns what keeping so many bytes costs.
func (t *Table) Keep(item Item, region string, size int64) Cost {
	month, a := t.of(item, region)
	return Cost{Monthly: float64(size) / gib * month, Assumed: a && size > 0}
}

// hours are those of a month in AWS's bills.
const hours = 730

// Hour returns what keeping so many bytes for an hour costs.
func (t *Table) Hour(item Item, region string, size int64) Cost {
	c := t.Keep(item, region, size)
	return Cost{Once: c.Monthly / hours, Assumed: c.Assumed}
}

// varies says whether an item's price is another one in some region.
func (t *Table) varies(item Item) bool {
	for _, r := range t.Rows {
		if r.Item == item && r.Region != "" {
			return true
		}
	}
	return false
}
