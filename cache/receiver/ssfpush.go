package receiver

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
)

// SSFPush is the endpoint to which a transmitter pushes SETs (RFC 8935), one a
// request. It answers 202 when the SET's effects are stored, 400 with err for
// one that will never be taken (401 and 403 where the sender may not send it,
// 413 and 415 where it was not read), and 503 for one that should be sent again.
type SSFPush struct{ *core }

// NewSSFPush makes the endpoint of one stream.
func NewSSFPush(c Config) (*SSFPush, error) {
	r, err := newCore(c)
	if err != nil {
		return nil, err
	}
	return &SSFPush{r}, nil
}

func (p *SSFPush) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		p.refuse(w, http.StatusMethodNotAllowed, malformed("SETs are pushed by POST"))
		return
	}
	if !p.authorized(req) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		p.refuse(w, 0, refuse(authenticationFailed, "the bearer token is missing or wrong"))
		return
	}
	raw, status := body(w, req, setMedia)
	if status != http.StatusOK {
		p.refuse(w, status, malformed("a push is one SET of at most 64 KiB as "+setMedia))
		return
	}
	var v *verified
	var effects []Effect
	err := p.patiently(func() (err error) {
		v, effects, err = p.readSET(raw, p.now())
		return err
	})
	if err == nil {
		err = p.take(req.Context(), v, effects)
	}
	if err != nil {
		if refusal := p.refused(err); refusal != nil {
			answer(w, 0, refusal)
			return
		}
		unavailable(w)
		return
	}
	w.WriteHeader(http.StatusAccepted) // RFC 8935, 2.2: no body
}

// authorized compares digests, so that the time says nothing of either text.
func (p *SSFPush) authorized(req *http.Request) bool {
	if p.Bearer == nil {
		return true
	}
	want := p.Bearer()
	fields := req.Header.Values("Authorization")
	if want == "" || len(fields) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(token))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (p *SSFPush) refuse(w http.ResponseWriter, status int, refusal *Refusal) {
	_ = p.refused(refusal) // counts it
	answer(w, status, refusal)
}

// answer refuses a push (RFC 8935, 2.3); status 0 is that of the refusal.
func answer(w http.ResponseWriter, status int, refusal *Refusal) {
	if status == 0 {
		status = refusal.status()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Language", "en")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	writeJSON(w, wireRefusal{refusal.Code, refusal.Description})
}

// wireRefusal is a refusal in the answer to a push and in setErrs of a poll.
type wireRefusal struct {
	Err         string `json:"err"`
	Description string `json:"description"`
}

// writeJSON sends what may no longer arrive: the sender is told, or gone.
func writeJSON(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
