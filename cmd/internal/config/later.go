package config

// The keys of the documented format that this version does not have. Words
// that it does not have stand in the later tags of their fields.

func (*Config) NotYet() []string {
	return []string{"cookies", "signals"}
}
func (*LaterListener) NotYet() []string { return []string{"tls"} }
func (*Class) NotYet() []string         { return []string{"idle_timeout"} }
func (*Route) NotYet() []string         { return []string{"streams"} }
func (*Require) NotYet() []string       { return []string{"idle_timeout"} }
func (*SSFPush) NotYet() []string       { return []string{"verification"} }
func (*SSFPoll) NotYet() []string       { return []string{"verification"} }
