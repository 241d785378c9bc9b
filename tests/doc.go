// Package tests holds the black-box tests of the gateway. They know its
// documented faces only: HTTP, SDP, RTP, the Caddyfile and the admin API.
//
// # Conformance
//
// The numbered black-box list and the tests that cover it. A test without a
// package is in this one; "in part" is said where something stays unchecked.
//
//	WHIP and WHEP over HTTP
//	 1 201, Location, ETag, answer     TestCreated
//	 2 415, 400, 413, media type       TestPostReplies
//	 3 wrong direction is 422          TestPostReplies
//	 4 sections and media streams      TestOfferShapes, TestPostReplies, TestAudioOnlyAndVideoOnly
//	 5 the offer of RFC 9725           TestPostReplies
//	 6 unknown codec only              TestPostReplies
//	 7 DTLS roles                      TestSetupRoles
//	 8 GET, HEAD, PUT                  TestMethods
//	 9 OPTIONS                         TestMethods; caddymodule TestOptionsAuthorises, TestOptionsLinks
//	10 CORS on errors                  each requireProblem and requireText; caddymodule TestCORS
//	11 DELETE                          TestDelete, TestFragmentStyles; caddymodule TestPatch
//	12 tokens                          caddymodule TestAuthReplies, TestAuthToken, TestJWT*, TestAuthLive*, TestWTNToken
//	13 draining                        caddymodule TestDrain, TestRedirect*, TestRetryAfter
//
//	PATCH
//	14 trickle, with star              TestPatchReplies, TestFragmentStyles
//	15 stale tag, none, strict         TestPatchReplies, TestStrictETags
//	16 restart                         TestPatchReplies, TestBrowserRestartsICE; relay TestRestartKeepsMedia
//	17 what is a restart               TestFragmentStyles; relay TestPatchTable
//	18 stale ufrag in candidates       TestFragmentStyles; relay TestPatchTable
//	19 JSON, garbage, odd candidates   TestPatchReplies, TestPatchFlood, TestFragmentStyles; relay TestPatchBounds
//	20 fragments of known players      TestFragmentStyles; relay TestPatchTable
//	21 failed restart                  relay TestFailedRestart
//
//	WHEP
//	22 no publisher                    TestPostReplies; caddymodule TestHoldAndViewerLimit
//	23 counter-offer                   caddymodule TestCounterOffer; relay TestCounterOfferExpires
//	24 server-sent events              TestEventStreams, TestEventStreamAtShutdown; caddymodule TestWHEPExtensions
//	25 layers                          caddymodule TestWHEPLayers, TestWHEPExtensions
//
//	WTN
//	26 codes and bodies                TestWTNReplies; caddymodule TestWTNConfigure, TestWTNLayers, TestWTNPubSub
//	27 destroy                         TestWTNDestroy, TestDeleteCascade
//	28 timers, shortened               TestGraceEnds, TestVanishedViewerIsReaped, TestUnconnectedSessionsAreReaped; caddymodule TestTimers (in part: no viewer is cut off for 20 s and continues)
//	29 re-publish                      TestTakeover, TestDialectsMeet, TestPublisherVanishesAndReturns
//
//	Upstreams
//	30 next vendor within the budget   TestUpstreamFails, TestUpstreamNeverConnects, TestUpstreamsAllFail
//	31 refusals                        TestUpstreamRefuses
//	32 Location                        TestUpstreamLocation*; caddymodule/vendors TestLocation*
//	33 media ends                      TestUpstreamMediaEnds, TestFailover*
//	34 redirect and Authorization      TestUpstreamRedirect; caddymodule/vendors TestRedirect*
//
//	TURN
//	35 credentials                     turnsvc TestCredentialCodes, TestOtherUser
//	36 forbidden peers                 turnsvc TestForbiddenPeers, TestMediaAddrsLive
//	37 quota, transport, family        turnsvc TestQuotas, TestRequestCodes, TestFamilies; caddymodule TestRelayIPv6
//	38 one port with HTTPS             caddymodule TestSharedPort, TestTLSListener (in part: not with HTTP/3 beside it)
//
//	Media
//	39 PLI storm, NACK                 TestPLIStorm, TestNACKIsAnswered; relay TestRTX
//	40 header extensions               TestHeaderExtensionsOfALeg; relay/internal/rtpx TestAbsSendTime (in part: the numbers of transport-wide feedback)
//	41 H.264 profiles and modes        TestCodecsMatchByMeaning
//	42 Opus DTX                        TestSilentPublisherLives, TestNoFalseFailover
//	43 late joiner                     TestLateJoinerStartsDecodable, TestLateJoinerWithoutCache, TestJoinAsksForOneKeyframe
//	44 FFmpeg publisher                relay/internal/sdpneg: its offer (in part: not two minutes without Binding replies)
package tests
