package extauthz

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/proof"
)

// Mode says whether a decision is enforced or only recorded.
type Mode uint8

const (
	ModeInherit Mode = iota // a class's or route's zero: the outer setting holds
	ModeEnforce
	ModeMonitor // everything is let through; what enforce would have said is recorded
)

// OnFeedStale says what to answer while the revocation feed can not be
// trusted to be complete. Its order is that of strictness.
type OnFeedStale uint8

const (
	StaleInherit OnFeedStale = iota // a route's zero; a class's means StaleError
	StaleAllow                      // availability first: go on with what is known
	StaleError                      // 503 as error_response
	StaleDeny                       // 503 as a denial, which a proxy that fails open keeps
)

// Demand is what a class or a route asks of a session. Zero asks for nothing.
type Demand struct {
	Binding         proof.Methods // one of them must be proven
	MaxLifetime     time.Duration // exp - iat
	MaxAge          time.Duration // now - iat
	AbsoluteTimeout time.Duration // now - auth_time, else now - iat
	MaxAuthAge      time.Duration // now - auth_time; without auth_time not met
	ACR             []string      // acr must be one of them
	Scopes          []string      // all of them
	OnFeedStale     OnFeedStale
}

// Config is everything a policy is compiled from. See contract §2.
type Config struct {
	Mode       Mode      // ModeInherit = ModeEnforce
	Carriers   []Carrier // where a credential may be; none = the Authorization header
	Classes    []Class
	Routes     []Route
	Strictest  bool          // ambiguous paths: the union of what all path routes demand, instead of refusal
	FeedMaxAge time.Duration // older than this the feed is stale
	Headers    HeaderNames

	// XFCC takes the client certificate from the last element of
	// x-forwarded-client-cert, and not from the connection: only where the
	// proxy itself writes that element.
	XFCC bool

	// MaxKept is how long after a token was issued a revocation of it is sure to
	// be known: one that lives for longer would outlive its revocation, and come
	// back (contract §8.4). 0 is for ever.
	MaxKept time.Duration
}

// HeaderNames are the request headers that carry the session to the upstream;
// "" sets none. Remove are taken from every request that is let through.
type HeaderNames struct {
	Subject, Session, Class string
	Remove                  []string
}

// Policy is a compiled configuration: immutable, read by any goroutine.
type Policy struct {
	mode       Mode
	classes    []Class
	routes     []route
	byName     map[string]int
	strictest  bool
	feedMaxAge time.Duration
	headers    HeaderNames
	xfcc       bool
	carriers   []Carrier
	svids      bool // one of them is the peer's certificate
	maxKept    time.Duration

	// demands holds what each pair asks: [class][1+route], where 0 is no
	// route. unclassed is the same for a session whose class is not known yet.
	demands   [][]demand
	unclassed []demand
}

// No index. anyRoute: the path is ambiguous, and every route may be meant.
const (
	noRoute  = -1
	noClass  = -1
	anyRoute = -2
)

// NewPolicy compiles and checks a configuration.
func NewPolicy(c Config) (*Policy, error) {
	if len(c.Classes) == 0 {
		return nil, fmt.Errorf("no classes: without one every session is class_unknown")
	}
	if len(c.Classes) > MaxClasses {
		return nil, fmt.Errorf("%d classes, more than %d", len(c.Classes), MaxClasses)
	}
	if c.FeedMaxAge <= 0 {
		return nil, fmt.Errorf("feed max_age is %v, not above 0", c.FeedMaxAge)
	}
	p := &Policy{
		mode: c.Mode, classes: c.Classes, strictest: c.Strictest,
		feedMaxAge: c.FeedMaxAge, headers: c.Headers, xfcc: c.XFCC, carriers: c.Carriers, maxKept: c.MaxKept, byName: make(map[string]int),
	}
	if p.mode == ModeInherit {
		p.mode = ModeEnforce
	}
	if len(p.carriers) == 0 {
		p.carriers = []Carrier{{Kind: CredentialHeader}}
	}
	p.svids = slices.ContainsFunc(p.carriers, func(c Carrier) bool { return c.Kind == CredentialCertificate })
	for i, r := range c.Routes {
		compiled, err := compileRoute(r)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", r.Name, err)
		}
		if _, twice := p.byName[r.Name]; twice || r.Name == "" {
			return nil, fmt.Errorf("route name %q is empty or used twice", r.Name)
		}
		p.byName[r.Name] = i
		p.routes = append(p.routes, compiled)
	}
	for i := range p.classes {
		class := &p.classes[i]
		base := demand{mode: class.Mode, onFeedStale: StaleError}
		if class.Demand.OnFeedStale != StaleInherit {
			base.onFeedStale = class.Demand.OnFeedStale
		}
		base.add(&class.Demand)
		p.demands = append(p.demands, p.combine(base))
	}
	p.unclassed = p.combine(demand{onFeedStale: StaleError})
	return p, nil
}

// demand is a class's and a route's demands together: the strictest wins.
type demand struct {
	bindings        []proof.Methods // one of each must be proven
	maxLifetime     time.Duration
	maxAge          time.Duration
	absoluteTimeout time.Duration
	maxAuthAge      time.Duration
	acr             [][]string // one of each
	scopes          []string
	onFeedStale     OnFeedStale
	mode            Mode
}

// combine adds to one class's demands those of no route and of each route.
func (p *Policy) combine(base demand) []demand {
	row := []demand{base.inMode(p.mode)}
	for i := range p.routes {
		both := base
		both.join(&p.routes[i])
		row = append(row, both.inMode(p.mode))
	}
	return row
}

// union is what the routes ask together of a class, for an ambiguous path
// under strictest: every route that matches by path, since it may be the one
// that is meant, and those that match whatever the path is. It is watched
// only where every one of them is. It is put together anew each time: such
// requests are rare, and none of ours.
func (p *Policy) union(class int, method, host string) *demand {
	row := p.unclassed
	if class != noClass {
		row = p.demands[class]
	}
	all := row[0]
	for i := range p.routes {
		r := &p.routes[i]
		if !r.byPath && !r.matches(method, host, "") {
			continue
		}
		all.add(&r.Demand)
		if row[1+i].mode == ModeEnforce {
			all.mode = ModeEnforce
		}
	}
	return &all
}

// join adds a route's demands. It never loosens what is there.
func (d *demand) join(r *route) {
	d.add(&r.Demand)
	d.mode = stricterMode(d.mode, r.Mode)
}

func (d *demand) add(more *Demand) {
	if more.Binding != 0 {
		d.bindings = append(d.bindings[:len(d.bindings):len(d.bindings)], more.Binding)
	}
	shorter(&d.maxLifetime, more.MaxLifetime)
	shorter(&d.maxAge, more.MaxAge)
	shorter(&d.absoluteTimeout, more.AbsoluteTimeout)
	shorter(&d.maxAuthAge, more.MaxAuthAge)
	if len(more.ACR) > 0 {
		d.acr = append(d.acr[:len(d.acr):len(d.acr)], more.ACR)
	}
	for _, scope := range more.Scopes {
		if !slices.Contains(d.scopes, scope) {
			d.scopes = append(d.scopes[:len(d.scopes):len(d.scopes)], scope)
		}
	}
	d.onFeedStale = max(d.onFeedStale, more.OnFeedStale)
}

// inMode settles the mode of a pair: what class or route say, else the
// configuration's.
func (d demand) inMode(outer Mode) demand {
	if d.mode == ModeInherit {
		d.mode = outer
	}
	return d
}

// stricterMode: where class and route both say something, enforce wins.
func stricterMode(a, b Mode) Mode {
	switch {
	case a == ModeInherit:
		return b
	case b == ModeInherit:
		return a
	case a == ModeEnforce || b == ModeEnforce:
		return ModeEnforce
	}
	return ModeMonitor
}

func shorter(limit *time.Duration, other time.Duration) {
	if other > 0 && (*limit == 0 || other < *limit) {
		*limit = other
	}
}
