package introspect

import "time"

const (
	pauseAfter = 5           // questions in a row without any answer
	pauseTime  = time.Second // then none is asked for so long, and then one
)

// pause keeps checks from waiting for an issuer that does not answer at all.
// The zero value asks.
type pause struct {
	silent int       // questions in a row without any answer
	until  time.Time // no question before it, while silent is at pauseAfter
	probe  bool      // the one question after it is on its way
}

// admit tells whether to ask, and whether that is the one question.
func (p *pause) admit(now time.Time) (ok, probe bool) {
	switch {
	case p.silent < pauseAfter:
		return true, false
	case p.probe || now.Before(p.until):
		return false, false
	}
	p.probe = true
	return true, true
}

// settle notes how a question ended.
func (p *pause) settle(now time.Time, probe, silent bool) {
	if probe {
		p.probe = false
	}
	if !silent {
		p.silent = 0
		return
	}
	// A question from before the pause does not make it longer.
	if p.silent < pauseAfter || probe {
		p.silent = min(p.silent+1, pauseAfter)
		p.until = now.Add(pauseTime)
	}
}
