#!/bin/sh
# Makes the built-in slates: the same still in each video codec.
#
# Needs ffmpeg with libx264, libx265, libvpx and libaom (any Debian or Ubuntu
# package will do). Run it anywhere; it writes beside itself. The files are
# committed, because encoders differ from version to version: run this again
# only to change the picture, and look at the result.
#
# The picture is grey only, so that it looks the same whichever colour matrix a
# player assumes: a dark background that is a little lighter in the middle, and
# a pause sign in a ring. It has no words, because viewers have many languages.
#
# What matters to the relay:
#   - every picture is a key frame, and carries its own parameter sets;
#   - H.264 is constrained baseline 3.1, which every browser decodes, and H.265
#     main, VP9 profile 0, AV1 main: 8 bits, 4:2:0;
#   - H.264 comes as two pictures of one second. Two IDR pictures in a row must
#     have different idr_pic_ids (H.264 7.4.3), which the encoder sees to, and a
#     single repeated one could not have. Their rate, 1 Hz, stands in the SPS;
#   - H.265 is encoded as if another picture followed: of one that is all key
#     frames the encoder makes the profile main-intra;
#   - no encoder's greetings (SEI) are left in.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
still=$work/still.nut

# The picture, by distance in pixels from the edges of its parts, so that they
# are smooth: r is the way from the centre, the ring has the radius 72, and the
# bars are 16 x 60 with round corners. Black is 16 and white 235.
x='(X-319.5)'
y='(Y-179.5)'
r="hypot($x,$y)"
ground="42+18*exp(-pow($r/230,2))"
ring="clip(2.5-abs($r-72),0,1)"
bar="hypot(max(abs(abs($x)-19)-4,0),max(abs($y)-26,0))"
bars="clip(4-$bar,0,1)"
sign="max($ring,$bars)"

run() { ffmpeg -nostdin -hide_banner -loglevel error -y "$@"; }

run -f lavfi -i "color=black:size=640x360:rate=1,format=yuv420p,geq=lum='$ground+(184-($ground))*$sign':cb=128:cr=128" \
	-frames:v 2 -c:v ffv1 "$still"

run -i "$still" -c:v libx264 -profile:v baseline -level:v 3.1 -preset veryslow -qp 23 -g 1 -bf 0 \
	-x264-params "annexb=1:repeat-headers=1" \
	-bsf:v "filter_units=remove_types=6|9" -f h264 default.h264

run -i "$still" -frames:v 1 -c:v libx265 -profile:v main -preset veryslow \
	-x265-params "crf=20:keyint=2:bframes=0:info=0:repeat-headers=1:level-idc=3.1:log-level=error" \
	-bsf:v "filter_units=remove_types=35|39|40" -f hevc default.h265

run -i "$still" -frames:v 1 -c:v libvpx -quality best -crf 10 -b:v 2M -auto-alt-ref 0 -g 1 \
	-f ivf default.vp8.ivf

run -i "$still" -frames:v 1 -c:v libvpx-vp9 -profile:v 0 -quality best -crf 20 -b:v 0 -auto-alt-ref 0 \
	-lag-in-frames 0 -g 1 -f ivf default.vp9.ivf

run -i "$still" -frames:v 1 -c:v libaom-av1 -cpu-used 2 -crf 20 -b:v 0 -lag-in-frames 0 -g 1 \
	-f ivf default.av1.ivf

ls -l default.*
