package ext4

// space hands out blocks from the start of a filesystem to its end, around what is fixed. It goes on beyond
// the end, so that a plan that does not fit can be measured.
type space struct {
	fixed  []span // sorted, not touching; those before cursor are gone
	cursor int64  // no block from here on is in use but for those fixed
	taken  []span // sorted, not touching: what was handed out
}

// take returns n blocks in as few runs as what is fixed allows.
func (s *space) take(n int64) []span {
	var runs []span
	for n > 0 {
		for len(s.fixed) > 0 && s.fixed[0].start <= s.cursor {
			s.cursor = max(s.cursor, s.fixed[0].end())
			s.fixed = s.fixed[1:]
		}
		run := span{s.cursor, n}
		if len(s.fixed) > 0 {
			run.n = min(n, s.fixed[0].start-s.cursor)
		}
		runs = append(runs, run)
		if k := len(s.taken) - 1; k >= 0 && s.taken[k].end() == run.start {
			s.taken[k].n += run.n
		} else {
			s.taken = append(s.taken, run)
		}
		s.cursor += run.n
		n -= run.n
	}
	return runs
}

func (s *space) block() int64 { return s.take(1)[0].start }

// skip leaves a gap up to the next multiple of n blocks.
func (s *space) skip(n int64) { s.cursor = ceilDiv(s.cursor, n) * n }
