package introspect

import (
	"log/slog"
	"sync"
	"time"
)

// What comes of a question.
const (
	resultActive      = "active"
	resultInactive    = "inactive"
	resultTimeout     = "timeout"     // no answer in time, or no end of it
	resultUnreachable = "unreachable" // no connection, or none that lasted
	resultCredentials = "credentials" // the issuer refuses Holdfast itself
	resultStatus      = "status"      // another HTTP status than 200
	resultContent     = "content"     // an answer that is not one of RFC 7662
	resultBusy        = "busy"        // not asked: too many questions at one time
	resultPaused      = "paused"      // not asked: the issuer does not answer at all
	resultInternal    = "internal"    // a bug in Holdfast
)

// Results are all that Config.Counted is called with.
func Results() []string {
	return []string{
		resultActive, resultInactive, resultTimeout, resultUnreachable, resultCredentials,
		resultStatus, resultContent, resultBusy, resultPaused, resultInternal,
	}
}

// fault is a question that failed, and the result it counts as.
type fault struct {
	result string
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// silent tells that there was no HTTP answer, or no end of it.
func (f *fault) silent() bool { return f.result == resultTimeout || f.result == resultUnreachable }

// Status is how questions go.
type Status struct {
	URL string `json:"url"`

	LastSuccess time.Time `json:"last_success,omitzero"` // an answer that decides, active or not
	LastError   string    `json:"last_error,omitempty"`  // the last there was; see Failing
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Failing     bool      `json:"failing"`     // the last question failed
	Credentials bool      `json:"credentials"` // because the issuer refuses Holdfast's client_id or secret

	Calls    uint64 `json:"calls"`     // questions that were asked
	Failed   uint64 `json:"failed"`    // and got no answer that decides
	NotAsked uint64 `json:"not_asked"` // too many at one time, or in a pause
}

// Status describes the client, for people.
func (c *Client) Status() Status { return c.state.status() }

// logGap is the least time between two lines of one result: whoever sends odd
// tokens between good ones makes the state change as often as he likes.
const logGap = 10 * time.Second

// state counts, and logs what is news.
type state struct {
	log *slog.Logger
	url string

	mu     sync.Mutex
	st     Status
	told   string               // the failure that was last logged, "" while all is well
	toldAt map[string]time.Time // when each was
}

func (s *state) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.URL = s.url
	return st
}

func (s *state) notAsked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.NotAsked++
}

// settle notes how a question ended: f is nil where the answer decides.
func (s *state) settle(now time.Time, f *fault) {
	switch told, news := s.note(now, f); {
	case !news:
	case f == nil:
		s.log.Info("introspection works again", "url", s.url, "after", told)
	case f.result == resultCredentials:
		s.log.Error("introspection: the issuer refuses our client_id or secret, and all tokens with it that have to be asked about: mend the client at the issuer, or the file with its secret",
			"url", s.url, "error", f)
	default:
		s.log.Warn("introspection fails, and tokens that have to be asked about are refused", "url", s.url, "result", f.result, "error", f)
	}
}

func (s *state) note(now time.Time, f *fault) (told string, news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.Calls++
	s.st.Failing = f != nil
	s.st.Credentials = f != nil && f.result == resultCredentials
	if f == nil {
		s.st.LastSuccess = now
		told, s.told = s.told, ""
		return told, told != ""
	}
	s.st.Failed++
	s.st.LastError, s.st.LastErrorAt = f.Error(), now
	if s.told == f.result || now.Sub(s.toldAt[f.result]) < logGap {
		return "", false
	}
	if s.toldAt == nil {
		s.toldAt = map[string]time.Time{}
	}
	s.told, s.toldAt[f.result] = f.result, now
	return "", true
}
