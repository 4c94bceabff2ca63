package lbsvc

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
)

// The Deployment of kube-ovn-controller, as Kube-OVN's manifests and charts
// name it.
const (
	ControllerNamespace = "kube-system"
	ControllerName      = "kube-ovn-controller"
)

const (
	flagLbSvc = "enable-lb-svc" // default false
	flagLb    = "enable-lb"     // default true; without it there is no lb-svc either
)

// Enabled reports whether a Deployment of kube-ovn-controller runs it with its
// lb-svc switched on. How many replicas there are does not matter: one that is
// scaled down for a moment will be back. Nil is no Deployment, and off.
func Enabled(d *appsv1.Deployment) bool {
	if d == nil {
		return false
	}
	for _, c := range d.Spec.Template.Spec.Containers {
		words := words(c.Command, c.Args)
		if boolFlag(words, flagLbSvc, false) && boolFlag(words, flagLb, true) {
			return true
		}
	}
	return false
}

// words splits a command line as a shell would that is given one of the
// arguments as a script: flags have no white space in them.
func words(argvs ...[]string) (words []string) {
	for _, argv := range argvs {
		for _, arg := range argv {
			for _, word := range strings.Fields(arg) {
				words = append(words, strings.NewReplacer(`"`, "", `'`, "").Replace(word))
			}
		}
	}
	return words
}

// boolFlag reads a flag as pflag does: "--name" is true, the value follows "=",
// the last one counts, and "--" ends the flags. A value that is none keeps the
// program from starting; it changes nothing here.
func boolFlag(words []string, name string, value bool) bool {
	for _, word := range words {
		if word == "--" {
			return value
		}
		flag, given, hasValue := strings.Cut(word, "=")
		if flag != "--"+name {
			continue
		}
		if !hasValue {
			value = true
		} else if v, err := strconv.ParseBool(given); err == nil {
			value = v
		}
	}
	return value
}
