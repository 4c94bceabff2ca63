package lbsvc

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

func controller(containers ...corev1.Container) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Spec.Template.Spec.Containers = containers
	return d
}

func TestEnabled(t *testing.T) {
	args := func(args ...string) *appsv1.Deployment {
		return controller(corev1.Container{Args: append([]string{"/kube-ovn/start-controller.sh", "--default-cidr=10.16.0.0/16"}, args...)})
	}
	for sentence, c := range map[string]struct {
		d    *appsv1.Deployment
		want bool
	}{
		"without a Deployment it is off": {nil, false},
		"without containers it is off":   {controller(), false},
		"the default is off":             {args(), false},
		"the bare flag switches it on":   {args("--enable-lb-svc"), true},
		"so does true":                   {args("--enable-lb-svc=true"), true},
		"and 1":                          {args("--enable-lb-svc=1"), true},
		"and T":                          {args("--enable-lb-svc=T"), true},
		"false is off":                   {args("--enable-lb-svc=false"), false},
		"0 is off":                       {args("--enable-lb-svc=0"), false},
		"a value of its own is no value of a bool flag":    {args("--enable-lb-svc", "false"), true},
		"the last one counts":                              {args("--enable-lb-svc=true", "--enable-lb-svc=false"), false},
		"also if that switches it on":                      {args("--enable-lb-svc=false", "--enable-lb-svc"), true},
		"a longer flag is another one":                     {args("--enable-lb-svc-not=true"), false},
		"one dash is no flag of pflag":                     {args("-enable-lb-svc=true"), false},
		"what follows the end of the flags is none":        {args("--", "--enable-lb-svc=true"), false},
		"a value that is none changes nothing":             {args("--enable-lb-svc=true", "--enable-lb-svc=perhaps"), true},
		"without enable-lb there is no lb-svc":             {args("--enable-lb-svc=true", "--enable-lb=false"), false},
		"enable-lb alone is none":                          {args("--enable-lb"), false},
		"both are some":                                    {args("--enable-lb=true", "--enable-lb-svc=true"), true},
		"the flag may be in the command":                   {controller(corev1.Container{Command: []string{"kube-ovn-controller", "--enable-lb-svc=true"}}), true},
		"args come after the command":                      {controller(corev1.Container{Command: []string{"c", "--enable-lb-svc=true"}, Args: []string{"--enable-lb-svc=false"}}), false},
		"a shell's script is read, too":                    {controller(corev1.Container{Command: []string{"sh", "-c", "exec ./start.sh \\\n --enable-lb-svc=\"true\" --enable-np=true"}}), true},
		"the controller may be the second container":       {controller(corev1.Container{Name: "sidecar"}, corev1.Container{Args: []string{"--enable-lb-svc"}}), true},
		"two containers do not switch it off for each one": {controller(corev1.Container{Args: []string{"--enable-lb=false"}}, corev1.Container{Args: []string{"--enable-lb-svc"}}), true},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := Enabled(c.d); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
