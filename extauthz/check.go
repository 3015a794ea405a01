package extauthz

import (
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// Checker decides. It reads memory only and may be used by any number of
// goroutines; its fields are set once.
type Checker struct {
	Policy *Policy
	Tokens *token.Verifier
	Index  *cache.Index
	Sync   *cache.Sync
	Clock  *Clock

	Certificates *proof.Certificates // may be nil
	Beginnings   *cache.Beginnings   // may be nil: each token begins its session then

	DPoP   *proof.DPoPChecker // nil: no proof holds
	Nonces *proof.Nonces      // nil: none are asked for
	Replay *cache.Replay      // of proofs; required with DPoP

	// Listed tells what a status list says of a token; known is false where
	// nobody can say. Nil: nobody can of any.
	Listed func(issuer, uri string, index uint64) (valid, known bool)

	// Spread tells the other replicas that a proof was used here; it does not
	// wait. Claim, where it is set, asks all of them together instead, and is
	// the only call of a check that waits for a network: OK for the first,
	// dpop_replayed for every other, else why nobody can tell.
	Spread func(key [16]byte, until time.Time)
	Claim  func(key [16]byte, until time.Time) reason.Reason
}

// Decision is the outcome of one check and all that its answer and its record
// need. The zero Decision denies. Its strings may alias the request.
type Decision struct {
	Reason   reason.Reason
	Verdict  reason.Verdict // of enforce, also in monitor mode
	Enforced bool
	ID       string // set by the caller before Check
	Class    string
	Route    string
	Session  token.Session // as far as it is known: zero before the token is verified
	Revoked  cache.Hit     // the revocation that the session ran into
	Proof    reason.Reason // what became of a DPoP proof; None where there was none to judge
	Detail   string        // for the record only, never for the client

	carrier CredentialKind // zero where no credential was found
	class   *Class         // nil where none is known

	demand *demand // what is asked, as far as route and class are known
	dpop   bool    // the client's scheme: for the challenge
	proof  proof.Proof
	nonce  string // fresh, for a client that has to use one
	policy *Policy
}

// Reset makes the decision ready for the next request.
func (d *Decision) Reset() { *d = Decision{} }

// Check decides about one request. The first step that is not OK ends it; the
// order of the steps is the order in which reasons win (contract §6).
// now carries the monotonic clock.
func (c *Checker) Check(req *Request, now time.Time, d *Decision) {
	d.policy = c.Policy
	d.demand = &c.Policy.unclassed[0]
	d.Reason = c.decide(req, now, d)
	d.Verdict = d.Reason.Verdict()
	if d.Reason == reason.FeedStale || d.Reason == reason.NotReady {
		if d.demand.onFeedStale == StaleDeny {
			d.Verdict = reason.Deny
		}
	}
	d.Enforced = d.demand.mode == ModeEnforce
}

// Refuse decides without having read a request: it can not be read, there is
// no room for it, or the check has failed. It does so in monitor mode too:
// whatever identity headers the client has sent are still in the request, and
// could not be taken out of it.
func (c *Checker) Refuse(r reason.Reason, d *Decision) {
	d.policy, d.demand = c.Policy, &c.Policy.unclassed[0]
	d.Reason, d.Verdict, d.Enforced = r, r.Verdict(), true
}

func (c *Checker) decide(req *Request, now time.Time, d *Decision) reason.Reason {
	route, r := c.Policy.findRoute(req)
	if r != reason.OK {
		return r
	}
	d.demand = c.Policy.demand(noClass, route, req)
	if route >= 0 {
		d.Route = c.Policy.routes[route].Name
		if c.Policy.routes[route].Anonymous {
			return reason.Anonymous
		}
	}
	cred, r := c.Policy.findCredential(req)
	d.dpop, d.carrier = cred.dpop, cred.kind
	if r != reason.OK {
		return r
	}
	wall := c.Clock.Read(now)
	if r = c.verify(req, &cred, wall, d); r != reason.OK {
		return r
	}
	class := c.Policy.class(d.Session.Classes, cred.kind)
	if class == noClass {
		return reason.ClassUnknown
	}
	d.class = &c.Policy.classes[class]
	d.Class = d.class.Name
	d.demand = c.Policy.demand(class, route, req)
	if r = c.bound(req, &cred, wall, d); r != reason.OK {
		return r
	}
	if r = c.standing(now, wall, d); r != reason.OK {
		return r
	}
	if r = c.listed(&d.Session); r != reason.OK {
		return r
	}
	if r = c.fresh(&d.Session, cred.kind, d.demand, wall); r != reason.OK {
		return r
	}
	if r = c.use(&d.proof, wall); r != reason.OK {
		d.Proof = r
	}
	return r
}

// verify turns the credential into the session.
func (c *Checker) verify(req *Request, cred *credential, wall time.Time, d *Decision) reason.Reason {
	switch cred.kind {
	case CredentialAPIKey:
		return c.Tokens.APIKey(cred.token, wall, &d.Session)
	case CredentialCertificate:
		return c.workload(req, wall, d)
	case CredentialHeader, CredentialCookie:
		return c.Tokens.Verify(cred.token, wall, &d.Session)
	}
	return reason.Internal
}

// workload takes the peer's X.509-SVID for the credential. It has to be there
// as a whole: a session needs its validity.
func (c *Checker) workload(req *Request, wall time.Time, d *Decision) reason.Reason {
	peer, ok := c.peer(req)
	switch {
	case !ok && c.Policy.xfcc:
		return reason.BindingMismatch
	case !ok:
		return reason.ClaimsInvalid
	case peer.Present && peer.Certificate == "":
		d.Detail = "x-forwarded-client-cert has no Cert: set_current_client_cert_details: {cert: true}"
		return reason.CredentialMissing
	case !peer.Present:
		return reason.CredentialMissing
	}
	if _, r := c.Certificates.SPIFFEID(&peer); r != reason.OK { // XFCC's URI is another's
		return r
	}
	svid, r := c.Certificates.SVID(peer.Certificate)
	if r != reason.OK {
		return r
	}
	return c.Tokens.Workload(svid, wall, &d.Session)
}

// demand is what a class and a route ask together.
func (p *Policy) demand(class, route int, req *Request) *demand {
	switch {
	case route == anyRoute:
		host, _ := canonicalHost(req.Host)
		return p.union(class, req.Method, host)
	case class == noClass:
		return &p.unclassed[1+route]
	}
	return &p.demands[class][1+route]
}

// findRoute says which route a request takes: the one that the proxy names,
// else the first that matches; noRoute where none does, and anyRoute where an
// ambiguous path may mean each of them.
func (p *Policy) findRoute(req *Request) (int, reason.Reason) {
	host, ok := canonicalHost(req.Host)
	if !ok || req.Method == "" || !pseudoHeadersAgree(req) {
		return noRoute, reason.RequestMalformed
	}
	path, ok := canonicalPath(req.Path)
	if !samePath(req) {
		ok = false
	}
	if !ok && !p.strictest {
		return noRoute, reason.PathAmbiguous
	}
	if req.Route != "" {
		i, known := p.byName[req.Route]
		if !known {
			return noRoute, reason.RouteUnknown
		}
		return i, reason.OK
	}
	if !ok {
		return anyRoute, reason.OK
	}
	return p.route(req.Method, host, path), reason.OK
}

// pseudoHeadersAgree holds the header list against the attributes: a request
// that says two things is refused. Absent pseudo-headers say nothing.
func pseudoHeadersAgree(req *Request) bool {
	for i := range req.Headers {
		h := &req.Headers[i]
		if h.Name == "" || h.Name[0] != ':' {
			if strings.EqualFold(h.Name, "host") && !sameAuthority(h.Value, req.Host) {
				return false
			}
			continue
		}
		switch h.Name {
		case ":authority":
			if !sameAuthority(h.Value, req.Host) {
				return false
			}
		case ":method":
			if h.Value != req.Method {
				return false
			}
		}
	}
	return true
}

func sameAuthority(a, b string) bool {
	if a == b {
		return true
	}
	hostA, okA := canonicalHost(a)
	hostB, okB := canonicalHost(b)
	return okA && okB && hostA == hostB
}

func samePath(req *Request) bool {
	for i := range req.Headers {
		if req.Headers[i].Name == ":path" && req.Headers[i].Value != req.Path {
			return false
		}
	}
	return true
}

// bound holds the proofs of possession against what the token is bound to and
// what class and route ask for.
func (c *Checker) bound(req *Request, cred *credential, wall time.Time, d *Decision) reason.Reason {
	presented := proof.Presented{
		Token: cred.token, DPoPScheme: cred.dpop,
		Method: req.Method, Scheme: req.Scheme, Host: req.Host, Path: req.Path,
	}
	presented.Peer, presented.PeerOK = c.peer(req)
	if cred.dpop {
		presented.DPoP, presented.DPoPs = findHeader(req, "dpop")
	}
	proven, r := proof.Check(&presented, &d.Session.Confirm, c.DPoP, c.Nonces, wall, &d.proof)
	if presented.DPoPs > 0 {
		d.Proof = r
	}
	if r == reason.DPoPNonceRequired {
		d.nonce = c.Nonces.Issue(wall)
	}
	if r != reason.OK {
		return r
	}
	for _, any := range d.demand.bindings {
		switch {
		case proven&any != 0:
		case any&proof.SPIFFE == 0:
			return reason.BindingMissing
		case !presented.PeerOK:
			return reason.BindingMismatch
		default:
			if r := c.Certificates.MatchSPIFFE(&presented.Peer, d.Session.Sub); r != reason.OK {
				return r
			}
		}
	}
	if d.proof.ReplayKey != [16]byte{} {
		if first, known := c.Replay.Peek(d.proof.ReplayKey, d.proof.Expires, wall); known && !first {
			d.Proof = reason.DPoPReplayed
			return d.Proof
		}
	}
	return reason.OK
}

// peer is what the proxy says of the client's certificate: in the connection's
// attributes or, where the policy says so, in the last XFCC field.
func (c *Checker) peer(req *Request) (proof.PeerCertificate, bool) {
	if !c.Policy.xfcc {
		return c.Certificates.Peer(req.Certificate)
	}
	for i := len(req.Headers) - 1; i >= 0; i-- {
		if strings.EqualFold(req.Headers[i].Name, "x-forwarded-client-cert") {
			return c.Certificates.XFCC(req.Headers[i].Value)
		}
	}
	return proof.PeerCertificate{}, true
}

// use records a proof, last of all: of any number of checks with one proof
// exactly one is let through, and one that is refused for another reason uses
// nothing up. Without room to remember it the proof can not be taken.
func (c *Checker) use(p *proof.Proof, wall time.Time) reason.Reason {
	if p.ReplayKey == [16]byte{} {
		return reason.OK
	}
	if c.Claim != nil { // first: where nobody answers, nothing is used up here
		if r := c.Claim(p.ReplayKey, p.Expires); r != reason.OK {
			return r
		}
	}
	switch first, ok := c.Replay.Seen(p.ReplayKey, p.Expires, wall); {
	case !ok:
		return reason.Overloaded
	case !first:
		return reason.DPoPReplayed
	case c.Claim == nil && c.Spread != nil:
		c.Spread(p.ReplayKey, p.Expires)
	}
	return reason.OK
}
