// A worker that ticks. Timers of a page slow down to one per second when its tab is hidden; those of a worker do not.
let timer = 0;
onmessage = ({ data: perSecond }) => {
  clearInterval(timer);
  timer = setInterval(() => postMessage(0), 1000 / perSecond);
};
