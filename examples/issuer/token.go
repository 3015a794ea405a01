package issuer

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Session is a login.
type Session struct {
	ID     string // sid
	User   string // sub
	Client string // client_id
	Auth   time.Time
	ACR    string
}

// Request asks for a token: of a new session (User), or of one that is there
// (SID).
type Request struct {
	User     string
	SID      string
	Client   string        // client_id; "" is "web"
	Audience string        // "" is the issuer's
	ACR      string        // of a new session; "" is "aal1"
	LoginAge time.Duration // how long ago that session's login was
	Age      time.Duration // how long ago the token is said to have been issued
	Lifetime time.Duration // exp - iat; 0 is the issuer's
	Scope    string
	X5T      string // cnf.x5t#S256: binds the token to a certificate, see Thumbprint
	JKT      string // cnf.jkt: binds the token to a DPoP key, its Key.ID
	NoJTI    bool
}

// Token is a minted token and the claims that people ask for next.
type Token struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"` // Bearer, for a token bound to a certificate too (RFC 8705, 3); or DPoP
	Expires int64  `json:"expires_in"`
	Scope   string `json:"scope,omitempty"`
	SID     string `json:"sid"`
	JTI     string `json:"jti,omitempty"`
}

// Mint signs a token (RFC 9068).
func (i *Issuer) Mint(r Request) (*Token, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	session, err := i.session(r, now)
	if err != nil {
		return nil, err
	}
	if r.Lifetime == 0 {
		r.Lifetime = i.config.Lifetime
	}
	if r.Audience == "" {
		r.Audience = i.config.Audience
	}
	issued := now.Add(-r.Age)
	until := issued.Add(r.Lifetime)
	claims := Claims{
		Issuer: i.config.URL, Audience: []string{r.Audience}, Subject: session.User, Client: session.Client,
		Session: session.ID, ACR: session.ACR, Auth: session.Auth, Issued: issued, Expires: until,
		Scope: r.Scope, X5T: r.X5T, JKT: r.JKT,
	}
	token := &Token{Type: "Bearer", Expires: int64(until.Sub(now).Seconds()), Scope: r.Scope, SID: session.ID}
	if !r.NoJTI {
		token.JTI = rand.Text()
		claims.JTI = token.JTI
	}
	if r.JKT != "" {
		token.Type = "DPoP"
	}
	if token.Access, err = i.keys[len(i.keys)-1].Token(DefaultType, &claims); err != nil {
		return nil, fmt.Errorf("issuer: sign: %w", err)
	}
	return token, nil
}

// session finds the session a request names, or begins one.
func (i *Issuer) session(r Request, now time.Time) (*Session, error) {
	if r.SID != "" {
		s := i.sessions[r.SID]
		if s == nil {
			return nil, fmt.Errorf("issuer: no session %q", r.SID)
		}
		return s, nil
	}
	if r.User == "" {
		return nil, errors.New("issuer: name a user, or the sid of a session")
	}
	s := &Session{ID: rand.Text(), User: r.User, Client: r.Client, ACR: r.ACR, Auth: now.Add(-r.LoginAge)}
	if s.Client == "" {
		s.Client = "web"
	}
	if s.ACR == "" {
		s.ACR = "aal1"
	}
	i.sessions[s.ID] = s
	return s, nil
}

// Reauthenticate notes that the user of a session has just proved again who
// they are, at acr. Tokens minted for it from now on say so.
func (i *Issuer) Reauthenticate(sid, acr string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[sid]
	if s == nil {
		return fmt.Errorf("issuer: no session %q", sid)
	}
	s.Auth = time.Now()
	if acr != "" {
		s.ACR = acr
	}
	return nil
}

// Thumbprint is the x5t#S256 of a certificate in DER (RFC 8705, 3.1).
func Thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return encode(sum[:])
}

// serveToken mints from a form: user or sid, client_id, audience, acr, scope,
// login_age, age and lifetime (durations as Go writes them), and to bind the
// token x5t=THUMBPRINT or jkt=THUMBPRINT, or bind=x5t for the certificate of this connection.
func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	req := Request{
		User: r.PostFormValue("user"), SID: r.PostFormValue("sid"), Client: r.PostFormValue("client_id"),
		Audience: r.PostFormValue("audience"), ACR: r.PostFormValue("acr"), Scope: r.PostFormValue("scope"),
		X5T: r.PostFormValue("x5t"), JKT: r.PostFormValue("jkt"),
	}
	for name, to := range map[string]*time.Duration{"login_age": &req.LoginAge, "age": &req.Age, "lifetime": &req.Lifetime} {
		text := r.PostFormValue(name)
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			answer(w, nil, fmt.Errorf("issuer: %s: %w", name, err))
			return
		}
		*to = d
	}
	switch bind := r.PostFormValue("bind"); {
	case bind == "x5t" && (r.TLS == nil || len(r.TLS.PeerCertificates) == 0):
		answer(w, nil, errors.New("issuer: bind=x5t needs a client certificate on this connection"))
		return
	case bind == "x5t":
		req.X5T = Thumbprint(r.TLS.PeerCertificates[0].Raw)
	case bind != "":
		answer(w, nil, fmt.Errorf("issuer: bind=%q is not known, use x5t", bind))
		return
	}
	token, err := i.Mint(req)
	answer(w, token, err)
}

// serveReauth answers with a token of the session as it is now: the form may
// have everything that serveToken reads.
func (i *Issuer) serveReauth(w http.ResponseWriter, r *http.Request) {
	if err := i.Reauthenticate(r.PostFormValue("sid"), r.PostFormValue("acr")); err != nil {
		answer(w, nil, err)
		return
	}
	i.serveToken(w, r)
}
