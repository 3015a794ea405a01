package config

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache/dial"
	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// Source is what all kinds of receivers have.
type Source struct {
	Kind                      string // the key that it stands under
	Issuer, Audience, JWKSURI string
	Path                      string // "" for one that polls
}

// Source is the one that the receiver has; the zero Source where it has none.
func (r *Receiver) Source() (s Source) {
	switch {
	case r.SSFPush != nil:
		return Source{"ssf_push", r.SSFPush.Issuer, r.SSFPush.Audience, r.SSFPush.JWKSURI, r.SSFPush.Path}
	case r.SSFPoll != nil:
		return Source{"ssf_poll", r.SSFPoll.Issuer, r.SSFPoll.Audience, r.SSFPoll.JWKSURI, ""}
	case r.BackchannelLogout != nil:
		return Source{"backchannel_logout", r.BackchannelLogout.Issuer, r.BackchannelLogout.Audience, r.BackchannelLogout.JWKSURI, r.BackchannelLogout.Path}
	case r.GlobalTokenRevocation != nil:
		g := r.GlobalTokenRevocation
		return Source{"global_token_revocation", g.Issuer, g.Audience, g.JWKSURI, g.Path}
	}
	return s
}

func (c *Config) checkReceivers() {
	paths := map[string]int{}
	for i := range c.Receivers {
		r, path := &c.Receivers[i], index("receivers", i)
		count := 0
		for _, there := range []bool{r.SSFPush != nil, r.SSFPoll != nil, r.BackchannelLogout != nil, r.GlobalTokenRevocation != nil} {
			if there {
				count++
			}
		}
		if count != 1 {
			c.say(path, "%s must have one of ssf_push, ssf_poll, backchannel_logout and global_token_revocation", path)
			continue
		}
		c.checkReceiver(path, r, paths, i)
	}
}

func (c *Config) checkReceiver(path string, r *Receiver, paths map[string]int, i int) {
	s := r.Source()
	path += "." + s.Kind
	switch known := slices.ContainsFunc(c.Issuers, func(i Issuer) bool { return i.Issuer == s.Issuer && !i.Opaque() }); {
	case s.JWKSURI != "":
		if err := dial.CheckURL(s.JWKSURI); err != nil {
			c.say(path+".jwks_uri", "%s.jwks_uri: %s", path, err)
		}
	case !known && s.Issuer != "" && c.cleanIssuers("issuer"):
		c.say(path+".issuer", "%s.issuer is %s, whose keys are not known: set jwks_uri, or add it to issuers", path, strict.Quote(s.Issuer))
	}
	if r.SSFPoll != nil {
		if err := dial.CheckURL(r.SSFPoll.URL); err != nil && r.SSFPoll.URL != "" {
			c.say(path+".url", "%s.url: %s", path, err)
		}
		if r.SSFPoll.Interval < time.Second {
			c.say(path+".interval", "%s.interval is %s: it must be at least 1s", path, strict.Short(r.SSFPoll.Interval))
		}
		return
	}
	switch first, twice := paths[s.Path]; {
	case s.Path == "":
	case !strings.HasPrefix(s.Path, "/") || badPath(s.Path) != "" || strings.Contains(s.Path, "*"):
		c.say(path+".path", "%s.path is %s: it must be a plain path such as /events/set", path, strict.Quote(s.Path))
	case twice:
		c.say(path+".path", "%s.path is %s, which is that of %s already", path, strict.Quote(s.Path), index("receivers", first))
	default:
		paths[s.Path] = i
	}
	if c.Listen.Events.Address == "" {
		c.say(path, "%s is sent to, and listen.events.address is not set", path)
	}
}
